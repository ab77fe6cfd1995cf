"""What every command refuses, with one message for each."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
from job_commands import JOB, warm
from refusal_cases import ANY, CASES, WRONG
from waiting import LONG_S

from pneumo.training.recipe import Recipe

COLUMNS = 80
"""Of the terminal."""
MAX_BOX_LINES = 16
"""Lines of the box that the parser of command lines prints: the error, the flag's help, how to get all help."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one of each kind."""
    root = tmp_path_factory.mktemp("refusals")
    (root / "file").write_text("no header\n")
    (root / "job.py").write_text("raise SystemExit('started')\n")
    (root / "masks.csv").write_text("a,-1\n")
    (root / "folder").mkdir()
    (root / "folder" / "note").write_text("keep me")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture(scope="module")
def answers(directory: Path) -> list[tuple[Any, str, str]]:
    """Exit code, standard output and standard error of each of ``CASES``."""
    done = subprocess.run(
        [*warm(), JOB.parent / "tests" / "command_driver.py"],
        input=json.dumps([case[:2] for case in CASES]),
        cwd=directory,
        env=os.environ | {"COLUMNS": str(COLUMNS)},
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[tuple[Any, str, str]] = json.loads(done.stdout)
    assert len(found) == len(CASES)
    return found


def name(case: tuple[str, list[str], str]) -> str:
    return ascii(" ".join((case[0], *(word[:20] for word in case[1]))))


def refusal(errors: str, words: Sequence[str] = ()) -> str:
    """Return what was refused: our own line, or the text of the box that the parser of command lines draws."""
    lines = errors.splitlines()
    assert all(line.isprintable() for line in lines)
    own = [match[1] for text in lines if (match := re.match(r"\d\d:\d\d:\d\d ERROR (.*)", text))]
    if own:
        (message,) = own
        assert re.search("; expected .+; .+", message)
        assert all(re.match(r"\d\d:\d\d:\d\d (ERROR|WARNING) ", text) for text in lines)
        return message
    assert (lines[0][:2], lines[-1][:2]) == ("╭─", "╰─")
    # It repeats the wrong words, once.
    assert len(lines) <= MAX_BOX_LINES + sum(map(len, words)) // (COLUMNS - 4)
    assert max(map(len, lines)) <= COLUMNS
    text = "".join(text.strip("│ ") for text in lines)
    assert "For full helptext" in text
    assert "--help" in text
    return text


@pytest.mark.parametrize("number", range(len(CASES)), ids=map(name, CASES))
def test_it_is_refused_with_the_flag_and_no_traceback(number: int, answers: list[tuple[Any, str, str]]) -> None:
    code, out, errors = answers[number]
    assert (code, out) == (2, ""), errors
    # A further word after a value is named by itself.
    _, words, text = CASES[number]
    refused = refusal(errors, words)
    assert text in refused or f"Unrecognized options: {words[-1]}" in refused


def test_nothing_was_written_or_deleted(answers: list[tuple[Any, str, str]], directory: Path) -> None:
    assert answers
    left = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))
    assert left == ["file", "folder", "folder/note", "job.py", "loop", "masks.csv", "pipe"]


def flags_of(arguments: type) -> set[str]:
    """Return the fields of a dataclass as flags; those of a dataclass in it stand for it."""
    kinds = get_type_hints(arguments)
    flags = set()
    for field in dataclasses.fields(arguments):
        nested = dataclasses.is_dataclass(kinds[field.name])
        flags |= flags_of(kinds[field.name]) if nested else {field.name.replace("_", "-")}
    return flags


@pytest.mark.parametrize("command", sorted(path.stem for path in JOB.glob("*.py")))
def test_every_flag_is_listed_here(command: str, load_command: Callable[[str], ModuleType]) -> None:
    of_every_command = {"quiet", "verbose"}  # switches, which take no value
    assert flags_of(load_command(command).Arguments) == WRONG[command].keys() | ANY[command].keys() | of_every_command
    assert all(WRONG[command].values())
    assert all(ANY[command].values())


def test_recipe_fields_and_flags_of_train_have_different_names() -> None:
    """A flag of job/train.py hides a recipe's of the same name."""
    assert not {field.name for field in dataclasses.fields(Recipe)} & {w.replace("-", "_") for w in WRONG["train"]}


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("score", ["--truth", "masks.csv", "--submission", "new\nline"], r"new\nline: No such file"),
        ("launch", ["--processes", "many", "job.py"], "Error parsing --processes"),
    ],
)
def test_it_is_refused_in_a_process_of_its_own(command: str, words: list[str], message: str, directory: Path) -> None:
    done = run(command, *words, cwd=directory)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in refusal(done.stderr)


def run(command: str, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, JOB / f"{command}.py", *map(str, words)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": str(COLUMNS)},
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
