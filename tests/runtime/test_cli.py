"""Exit codes and messages of the frame around every command."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pneumo import __version__
from pneumo.runtime import cli
from pneumo.runtime.errors import StopRequested, UserError


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("command", "code", "text", "traceback"),
    [
        (lambda: None, 0, "", False),
        (raising(UserError("3 folds", "5 folds", "correct --folds")), 2, "3 folds; expected 5 folds; correct", False),
        (raising(StopRequested("fold 1 at step 7")), 3, "stopped on request, state saved: fold 1 at step 7", False),
        (raising(KeyboardInterrupt()), 128 + signal.SIGINT, "interrupted", False),
        (raising(ZeroDivisionError("a bug")), 1, "ZeroDivisionError: a bug", True),
    ],
)
def test_how_a_command_ends(
    command: Callable[[], None], code: int, text: str, traceback: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(command)
    assert ended.value.code == code
    errors = capsys.readouterr().err
    assert text in errors
    assert ("Traceback" in errors) == traceback


def test_a_rank_of_several_ends_without_teardown_and_with_its_exit_code() -> None:
    """What would hang or abort there, such as a process group that an error left open, has no say in the exit code."""
    script = (
        "import atexit\nfrom pneumo.runtime import cli\nfrom pneumo.runtime.errors import StopRequested\n"
        "atexit.register(print, 'torn down')\n"
        "def command():\n    {}\n    raise StopRequested('fold 1')\n"
        "cli.run(command)\n"
    )
    for line, stdout in (("pass", "torn down\n"), ("cli.skip_teardown()", "")):
        command = [sys.executable, "-c", script.format(line)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stdout) == (3, stdout), ended.stderr


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Flags."""

    size: int
    """Side in pixels."""
    rate: float = 0.5
    """Share."""


def test_flags_are_typed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.parse(Arguments, ["--size", "3"], prog="p", description="d") == Arguments(size=3)
    with pytest.raises(SystemExit) as ended:
        cli.parse(Arguments, ["--help"], prog="p", description="What it does.")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "What it does." in text
    assert "Side in pixels." in text
    assert "0.5" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "three"], "three"),
        ([], "--size INT"),
        (["--size"], "--size"),
        (["--size", "3", "--sise", "4"], "Unrecognized options: --sise, 4"),
        (["--size", "3", "stray"], "Unrecognized options: stray"),
    ],
)
def test_wrong_flags_end_with_2_and_point_to_the_help(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: cli.parse(Arguments, words, prog="p", description="d").size)
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert "p --help" in errors
    assert "Traceback" not in errors


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parse(Arguments, ["--version"], prog="job/p.py", description="d")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"job/p.py {__version__}\n"
