"""The ranges of pyproject.toml hold at both ends: the suite runs with the lock, its core with the lowest versions."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
CALENDAR_MAJORS = {"fsspec", "pillow", "pyarrow", "s3fs"}
"""Packages that raise their major version with the calendar and break little."""
EXTRAS = ("cuda13", "s3")
"""Extras of users."""
CORE = ("runtime", "masks", "dicom", "dataset", "loading", "modeling", "training", "inference", "reporting")


def ranges() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for name in EXTRAS for line in project["optional-dependencies"][name])]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("requirement", ranges(), ids=lambda requirement: requirement.name)
def test_every_dependency_has_two_ends(requirement: Requirement) -> None:
    operators = {part.operator for part in requirement.specifier}
    assert operators == ({">="} if requirement.name in CALENDAR_MAJORS else operators)
    assert operators in ({">=", "<"}, {"=="}, {">="})
    assert operators != {">="} or requirement.name in CALENDAR_MAJORS


@pytest.mark.bounds
def test_the_core_of_the_suite_passes_with_the_lowest_versions(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    requirements = tmp_path / "lowest.txt"

    def run(*words: object, **environment: str) -> str:
        ended = subprocess.run(
            list(map(str, words)),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-8000:]
        return ended.stdout

    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv is None:
        pytest.skip("needs uv, of the extra check")
    lowest = (
        "--resolution",
        "lowest-direct",
        *(f"--extra={name}" for name in (*EXTRAS, "test")),
        "--python-version",
        "3.11",
    )
    run(
        uv,
        "pip",
        "compile",
        "--config-file",
        "docker/uv.toml",
        "pyproject.toml",
        *lowest,
        "--output-file",
        requirements,
    )
    pins = dict(re.findall(r"^(\S+)==(\S+)$", requirements.read_text(), re.MULTILINE))
    for requirement in ranges():
        low = min(part.version for part in requirement.specifier if part.operator in (">=", "=="))
        assert Version(pins[requirement.name]) == Version(low), requirement
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--requirement", requirements)
    run(python, "-m", "pip", "check")
    quick = "not (gpu or slow or chaos or slurm or k8s or image or wheelhouse or bounds)"
    tests = [ROOT / "tests" / name for name in CORE]
    output = run(*(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", quick, *tests), PYTHONPATH=str(ROOT))
    assert " passed" in output.splitlines()[-1]
