"""What every command prints about itself."""

import itertools
import re
import subprocess
import sys

import pytest
from job_commands import JOB, run_all

from pneumo import __version__

COLUMNS = 80
"""Of the terminal."""
SLOW_TO_IMPORT = {
    "accelerate", "cv2", "gdcm", "highdicom", "jinja2", "matplotlib", "onnx", "pandas", "PIL", "pyarrow", "pydicom",
    "requests", "scipy", "segmentation_models_pytorch", "sklearn", "tensorboard", "timm", "torch",
    "torchvision",
}  # fmt: skip
"""Packages that no command imports before it has read its flags; torch alone takes seconds, and 400 MB."""
COMMANDS = sorted(path.stem for path in JOB.glob("*.py"))


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[str, str]]:
    """The help and the version that each command prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(COLUMNS))
        ended = run_all([(command, [flag]) for command in COMMANDS for flag in ("--help", "--version")])
    assert [code for code, _ in ended] == [0] * len(ended), ended
    printed = [output for _, output in ended]
    return dict(zip(COMMANDS, zip(printed[::2], printed[1::2], strict=True), strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_keeps_within_the_terminal_and_breaks_lines_only_where_they_are_full(
    command: str, answers: dict[str, tuple[str, str]]
) -> None:
    out, _ = answers[command]
    assert f"usage: job/{command}.py " in out
    box = [line[1:-1].rstrip() for line in out.splitlines() if line.startswith("│")]
    assert max(map(len, box)) <= COLUMNS - 2
    beside = re.search(r"^ -h, --help +", "\n".join(box), re.MULTILINE)
    # Where most flags are long, what is said of each begins on the next line.
    column = beside[0] if beside else re.search(r"^ -h, --help\n( +)", "\n".join(box), re.MULTILINE)[1]  # type: ignore[index]
    for this, following in itertools.pairwise(box):
        if this.startswith(" " * len(column)) and following.startswith(" " * len(column)):
            room = COLUMNS - 4 - len(this)
            assert len(following.split()[0]) >= room, "the first word of a line would fit on the one before"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version_is_printed(command: str, answers: dict[str, tuple[str, str]]) -> None:
    assert answers[command][1] == f"job/{command}.py {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_flags_are_read_before_anything_slow_is_imported(command: str) -> None:
    """In a Python of its own, as users start it; one that tests share has imported everything."""
    for flag, code in (("--help", 0), ("--no-such-flag", 2)):
        words = [sys.executable, "-X", "importtime", JOB / f"{command}.py", flag]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stderr[-2000:]
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines()}
        assert "pneumo" in imported
        assert not imported & SLOW_TO_IMPORT
