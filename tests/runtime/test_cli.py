"""Exit codes and messages of the frame around every command."""

import gc
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated

import pytest
from annotated_types import Interval
from waiting import LONG_S

from pneumo import __version__
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import StartAgain, StopRequested, UserError


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("command", "code", "text", "traceback"),
    [
        (lambda: None, 0, "", False),
        (raising(UserError("3 folds", "5 folds", "correct --folds")), 2, "3 folds; expected 5 folds; correct", False),
        (
            raising(StopRequested("fold 1 at step 7")),
            3,
            "stopped on request, state saved: fold 1 at step 7; the same command goes on",
            False,
        ),
        (raising(StartAgain("fold 1 is not trained yet")), 3, "trained yet; start the same command again later", False),
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


@pytest.mark.parametrize(("resumes", "text"), [(True, "the same command resumes from there"), (False, "starts anew")])
def test_an_interrupted_command_promises_what_it_does(
    resumes: bool, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.run(raising(KeyboardInterrupt()), resumes=resumes)
    assert text in capsys.readouterr().err


@config_dataclass
class Lists:
    folds: tuple[int, ...] = ()
    """Folds."""
    path: str = ""
    """A path."""


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--folds", "0,1"], True),
        (["--folds=0,1"], True),
        (["--folds", "x"], False),
        (["--path", "a/b,c", "--folds", "x"], False),
    ],
)
def test_a_list_that_cannot_be_read_for_its_commas_is_told_to_have_spaces(
    words: list[str], hint: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: cli.parse(Lists, words, prog="x", description="") and None)
    assert ended.value.code == 2
    assert ("separate several values by spaces, not by commas" in capsys.readouterr().err) == hint


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
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LONG_S, check=False)
        assert (ended.returncode, ended.stdout) == (3, stdout), ended.stderr


@config_dataclass
class Arguments:
    """Flags."""

    size: int
    """Side in pixels."""
    rate: Annotated[float, Interval(gt=0, le=1)] = 0.5
    """Share of the images
    (of those with a mask) that ``rate`` is the
    share of."""


DESCRIPTION = f"""{"What it does, at some length. " * 4}

    python job/p.py --size 3        # indented lines are not wrapped, however long they are as commands need
    python job/p.py --size 4

Exit codes: 0.
"""


def test_flags_are_typed_and_explained(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.parse(Arguments, ["--size", "3"], prog="p", description="d") == Arguments(size=3)
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        cli.parse(Arguments, ["--help"], prog="p", description=DESCRIPTION)
    assert ended.value.code == 0
    paragraph, code, codes, usage, *options = capsys.readouterr().out.split("\n\n")
    assert paragraph.split() == DESCRIPTION.partition("\n")[0].split()
    assert max(map(len, paragraph.splitlines())) in range(70, 81)
    assert (code, codes, usage) == (
        DESCRIPTION.split("\n\n")[1],
        "Exit codes: 0.",
        "usage: p [-h] --size INT [--rate FLOAT]",
    )
    text = " ".join("".join(options).replace("│", " ").split())
    assert "--size INT Side in pixels. (required)" in text
    help_of_rate = "Share of the images (of those with a mask) that rate is the share of."
    assert f"--rate FLOAT {help_of_rate} Accepts above 0 and at most 1. (default: 0.5)" in text


@pytest.mark.parametrize("word", ["--verify", "--verify=data", "--folds"])
def test_a_renamed_flag_is_refused_with_its_new_name(word: str) -> None:
    renamed = {"--folds": "--num-folds", "--verify": "job/verify.py --dataset"}
    expected = "job/verify.py --dataset" if "verify" in word else "--num-folds"
    with pytest.raises(UserError) as caught:
        cli.parse(Arguments, ["--size", "3", word], prog="job/shard.py", description="", renamed=renamed)
    flag = word.partition("=")[0]
    assert str(caught.value) == (
        f"{flag} is no longer a flag of job/shard.py; expected {expected}, which replaced it in version 0.2.0;"
        " correct the command"
    )


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


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--size", "3", "\x1b[2Jstray"], r"\x1b[2Jstray"),
        (["--size", "\x1b]0;title\x07\n7"], "x1b]0;title"),
        (["--size", "3", "y" * 20_000], f"{'y' * 30}"),
        (["--size", "9" * 5_000], "99...99"),
    ],
)
def test_the_box_shows_no_word_that_a_terminal_would_obey_or_that_fills_it(
    words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parse(Arguments, words, prog="p", description="d")
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 20
    assert all(line.isprintable() for line in lines)
    assert shown in "".join("".join(lines).replace("│", "").split())


def test_a_flag_that_people_try_is_refused_with_what_they_mean() -> None:
    with pytest.raises(UserError, match=r"--lr is no flag of job/p\.py; expected --learning-rate; correct"):
        cli.parse(Arguments, ["--lr=3"], prog="job/p.py", description="", mistaken={"--lr": "--learning-rate"})


def test_a_word_that_is_only_unusual_is_parsed() -> None:
    assert cli.parse(Name, ["--name", "new\nline" * 100], prog="p", description="d").name == "new\nline" * 100


@config_dataclass
class Name:
    """Flags."""

    name: str
    """A name."""


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parse(Arguments, ["--version"], prog="job/p.py", description="d")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"job/p.py {__version__}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_imports_ends_the_process_by_itself(number: signal.Signals) -> None:
    """Also of commands that can resume: nothing has begun that could be saved."""
    code = (
        "import os, sys\n"
        "from pneumo.runtime import cli\n"
        "def main():\n"
        "    with cli.slow_imports():\n"
        "        os.kill(os.getpid(), int(sys.argv[1]))\n"
        "cli.run(main, resumes=True)"
    )
    assert (
        subprocess.run([sys.executable, "-P", "-c", code, str(int(number))], timeout=LONG_S, check=False).returncode
        == -number
    )


def test_slow_imports_are_not_searched_for_garbage_and_what_follows_is() -> None:
    with cli.slow_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
