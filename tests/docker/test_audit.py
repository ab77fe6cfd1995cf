"""The results of an audit: a skipped one never counts as passed. A script replaces pip-audit and prints the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["3", "4"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}
NOTHING_AUDITED = "No known vulnerabilities found\n"
"""What pip-audit prints at the end although it could not ask about any package."""


def audit(tmp_path: Path, stdout: str, stderr: str = "", code: int = 0, *, tool: bool = True) -> tuple[int, str]:
    """Run docker/audit.py with a pip-audit that prints this; return the exit code and the output."""
    directory = tmp_path / "bin"
    directory.mkdir()
    if tool:
        script = f"#!{sys.executable}\nimport sys\nsys.stdout.write({stdout!r})\nsys.stderr.write({stderr!r})\n"
        # The versions that are audited are the locked ones.
        locks = [str(ROOT / "docker" / name) for name in ("constraints.txt", "weights.txt")]
        script += f"assert [word for word in sys.argv if word.endswith('.txt')] == {locks!r}\nsys.exit({code})\n"
        (directory / "pip-audit").write_text(script)
        (directory / "pip-audit").chmod(0o755)
    (directory / "python").symlink_to(sys.executable)
    done = subprocess.run(
        [directory / "python", "-I", ROOT / "docker" / "audit.py"],
        env={**os.environ, "PATH": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def report(*dependencies: dict[str, object]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_a_report_without_vulnerabilities_passes(tmp_path: Path) -> None:
    assert audit(tmp_path, report(CLEAN, CLEAN)) == (0, "audit: 2 packages without a known vulnerability\n")


def test_a_vulnerability_fails_and_is_named(tmp_path: Path) -> None:
    code, output = audit(tmp_path, report(CLEAN, BAD), "Found 1 known vulnerability in 1 package\n", 1)
    assert code == 1
    assert "b 2: CVE-2026-1, fixed in 3, 4" in output


def test_without_its_service_the_audit_is_skipped_and_not_passed(tmp_path: Path) -> None:
    code, output = audit(tmp_path, report(SKIPPED, SKIPPED), NOTHING_AUDITED)
    assert code == 0
    assert "SKIPPED, 2 of 2 packages" in output
    assert "without a known vulnerability" not in output


def test_a_skip_does_not_hide_a_vulnerability(tmp_path: Path) -> None:
    code, output = audit(tmp_path, report(SKIPPED, BAD, CLEAN), code=1)
    assert code == 1
    assert "CVE-2026-1" in output
    assert "SKIPPED, 1 of 3 packages" in output


def test_a_partial_audit_prints_both(tmp_path: Path) -> None:
    code, output = audit(tmp_path, report(SKIPPED, CLEAN), NOTHING_AUDITED)
    assert code == 0
    assert "SKIPPED, 1 of 2" in output
    assert "1 packages without a known vulnerability" in output


@pytest.mark.parametrize("stderr", ["ERROR: requests.exceptions.ConnectionError: ...", "Max retries exceeded"])
def test_a_lost_connection_is_a_skip(tmp_path: Path, stderr: str) -> None:
    code, output = audit(tmp_path, "", stderr, 1)
    assert (code, "SKIPPED, its service cannot be reached" in output) == (0, True)


@pytest.mark.parametrize("stdout", ["", "[]", '{"other": 1}', "{"])
def test_any_other_end_without_a_report_fails(tmp_path: Path, stdout: str) -> None:
    code, output = audit(tmp_path, stdout, "usage: pip-audit\n", 2)
    assert code == 1
    assert "ended with 2 and without a report" in output


def test_without_the_tool_it_is_a_skip(tmp_path: Path) -> None:
    code, output = audit(tmp_path, "", tool=False)
    assert code == 0
    assert "pip-audit is not installed" in output


def test_lint_runs_it_and_ci_runs_lint() -> None:
    launch = (ROOT / "launch.sh").read_text()
    assert '"$python" docker/audit.py' in launch.partition("\nlint() {")[2].partition("\n}")[0]
    assert "\n        lint\n" in launch.partition("    check)")[2].partition(";;")[0]
    assert "lint) run ./launch.sh lint ;;" in (ROOT / ".ci" / "run").read_text()
