"""The ranges of pyproject.toml hold at both ends: the upper is docker/constraints.txt, the lower is tried here."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
BY_THE_CALENDAR = {"pillow", "pyarrow"}
"""Packages whose major versions come with the season and break little."""
CORE = ("dicom", "dataset", "loading", "modeling", "training", "inference", "reporting")
FILES = ("test_rle.py", "test_annotations.py", "test_submission.py", "test_cli.py")


def ranges() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["cuda13"]]]


@pytest.mark.parametrize("requirement", ranges(), ids=lambda requirement: requirement.name)
def test_every_dependency_has_two_ends(requirement: Requirement) -> None:
    operators = {part.operator for part in requirement.specifier}
    assert operators == ({">="} if requirement.name in BY_THE_CALENDAR else operators)
    assert operators in ({">=", "<"}, {"=="}, {">="})
    assert operators != {">="} or requirement.name in BY_THE_CALENDAR


@pytest.mark.bounds
def test_the_core_of_the_suite_passes_with_the_lowest_versions(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    wanted = tmp_path / "lowest.txt"

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

    wanted.write_text(run(sys.executable, ROOT / "docker" / "lowest.py"))
    assert "torch==" in wanted.read_text()
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--requirement", wanted)
    run(python, "-m", "pip", "check")
    quick = "not (gpu or slow or chaos or slurm or k8s or image or wheelhouse or bounds)"
    tests = [ROOT / "tests" / name for name in (*CORE, *FILES)]
    said = run(*(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", quick, *tests), PYTHONPATH=str(ROOT))
    assert " passed" in said.splitlines()[-1]
