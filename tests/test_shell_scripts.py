"""Every shell script: its style, and what launch.sh refuses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [".ci/run", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*.sh"))]
SCRIPTS += sorted(
    str(path.relative_to(ROOT)) for part in ("docker", "slurm", "tests") for path in ROOT.glob(f"{part}/**/*.sh")
)


@pytest.mark.parametrize("command", [["shellcheck", "-x"], ["shfmt", "-d", "-i", "4", "-ci"]], ids=lambda c: c[0])
def test_shell_scripts_are_clean(command: list[str]) -> None:
    tool = Path(sys.executable).with_name(command[0])
    if not tool.exists():
        pytest.skip(f"needs {command[0]}, of the extra check")
    assert {"launch.sh", "docker/wheelhouse.sh", "slurm/submit.sh", "tests/slurm/cluster.sh"} <= set(SCRIPTS)
    done = subprocess.run([tool, *command[1:], *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch"], "found nosuch; expected setup, demo, test, lint, check or wheelhouse"),
        ([], "found nothing; expected setup"),
        (["lint", "pneumo", "job"], "found lint pneumo job; expected no arguments"),
        (["test"], "PNEUMO_PYTHON=/nowhere/python cannot import pneumo; expected"),
    ],
)
def test_what_launch_cannot_do_is_refused_in_one_line(words: list[str], message: str) -> None:
    environment = os.environ | {"PNEUMO_PYTHON": "/nowhere/python"}
    done = subprocess.run(
        [ROOT / "launch.sh", *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"launch\.sh: {re.escape(message)}.*; .+\n", done.stderr)
