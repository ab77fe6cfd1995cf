"""What every command refuses: each flag out of its range, each impossible path, with one message for each.

Every flag of every command is in ``WRONG`` or in ``ANY``; a new one without a line here fails a test.
"""

import csv
import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import numpy as np
import pytest
from job_commands import JOB, RECIPE, run_all, warm
from waiting import LONG_S

from pneumo import __version__
from pneumo.synthetic.dicom_writer import write_dicom
from pneumo.training.recipe import Recipe

FLOATS = ("nan", "inf", "-inf", "-1", "1e400", "x", "")
COUNTS = ("-1", "1.5", "1e3", "nan", "x", "", "9" * 30, "9" * 5000)
PATHS = "paths are in MISSING, OCCUPIED and ODD_NAMES"
SWITCH = "a switch takes no value"

NEEDED: dict[str, dict[str, str]] = {
    "bench": {},
    "demo": {"out": "demo"},
    "ensemble": {"runs": "run", "dataset": "dataset", "out": "out.csv"},
    "launch": {},
    "predict": {"run": "run", "dicom": "folder", "out": "out"},
    "score": {"truth": "masks.csv", "submission": "masks.csv"},
    "shard": {"dicom": "folder", "out": "dataset"},
    "train": {"dataset": "dataset", "run": "run"},
    "verify": {"dataset": "dataset"},
}
"""Flags that each command needs beside the wrong one."""

WRONG: dict[str, dict[str, Sequence[str]]] = {
    "bench": {
        "images": ("0", "1", "100001", *COUNTS),
        "source-size": ("63", "8193", *COUNTS),
        "size": ("31", "4097", *COUNTS),
        "train-size": ("31", "33", "4128", *COUNTS),
        "histograms": ("9", "1000001", *COUNTS),
        "rules": ("0", "1000001", *COUNTS),
        "repeat": ("0", "1001", *COUNTS),
        "workers": ("0", "4097", *COUNTS),
        "dicom": ("folder",),
        "masks": ("masks.csv",),
    },
    "demo": {
        "images": ("0", "19", "100001", *COUNTS),
        "test-images": ("0", "100001", *COUNTS),
        "seed": ("4294967296", *COUNTS),
        "fresh": ("maybe",),
    },
    "ensemble": {
        "weights": ("0", "1e7", "1 2", *FLOATS),
        "min-component": ("1048577", *FLOATS),
        "loader": ("pytorch", "", "auto dali"),
        "precision": ("fp8", "", "auto fp16"),
        "rule": ("best", "", "auto mean"),
        "workers": ("4097", *COUNTS),
        "wait": ("604801", *FLOATS),
        "rank-timeout": ("0", "604801", *FLOATS),
        "expect-world": ("65537", *COUNTS),
        "runs": ("run run", "run ./run"),
    },
    "launch": {
        "processes": ("0", "257", "-1", "1.5", "x", "", "\u00b2"),
        "nodes": ("0", "65537", *COUNTS),
        "node-rank": ("1", *COUNTS),
        "master": ("host", "host:", ":1", "host:x", "host:0", "host:65536", "host:-1"),
        "restarts": ("1000001", *COUNTS),
    },
    "predict": {
        "min-component": ("1048577", *FLOATS),
        "outputs": ("", "masks", "findings findings", "findings overlay"),
        "loader": ("pytorch", ""),
        "precision": ("fp8", ""),
        "workers": ("4097", *COUNTS),
        "id": ("file", ""),
    },
    "score": {"missing": ("ignored", "", "ERROR")},
    "shard": {
        "num-folds": ("0", "1", "128", *COUNTS),
        "seed": ("4294967296", *COUNTS),
        "workers": ("0", "4097", *COUNTS),
        "task": ("1", "1/1", "2/1", "0/0", "-1/2", "0/-2", "0.5/2", "a/b", "0/1/2", "", "\u0660/\u0661"),
        "max-quarantined": ("100.5", *FLOATS),
        "time-limit": ("0", "86401", *FLOATS),
        "memory-limit": ("0", "1025", *FLOATS),
        "id": ("file", ""),
    },
    "train": {
        "recipe": ("nonesuch", "", "best demo"),
        "folds": ("127", "0 -1", *COUNTS[:-3], *COUNTS[-2:]),
        "workers": ("4097", *COUNTS),
        "checkpoint-every": ("1000000001", *COUNTS),
        "expect-world": ("65537", *COUNTS),
        "rank-timeout": ("0", "604801", *FLOATS),
    },
    "verify": {"workers": ("0", "4097", *COUNTS)},
}

ANY: dict[str, dict[str, str]] = {
    "bench": {
        "parts": "a positional, see WORDS",
        "save-encoder": "checked by the recipe when the part that needs torch is measured",
        "out": PATHS,
    },
    "demo": {"out": PATHS},
    "ensemble": {"dataset": PATHS, "out": PATHS, "expected": PATHS, "skip-damaged": SWITCH},
    "launch": {},
    "predict": {"run": PATHS, "dicom": PATHS, "out": PATHS, "include-non-frontal": SWITCH},
    "score": {"truth": PATHS, "submission": PATHS, "dataset": PATHS, "out": PATHS},
    "shard": {
        "dicom": PATHS,
        "test-dicom": PATHS,
        "masks": PATHS,
        "patients": PATHS,
        "out": PATHS,
        "shard-size": "not a flag",
        "ignore-patient-id": SWITCH,
        "include-non-frontal": SWITCH,
    },
    "train": {
        "dataset": PATHS,
        "run": PATHS,
        "expected": PATHS,
        "skip-damaged": SWITCH,
    },
    "verify": {"dataset": PATHS},
}
"""Flags of which no value is wrong here, and why."""


def line(command: str, *words: str, without: str = "") -> tuple[str, list[str]]:
    """Return a command line with the flags that the command needs."""
    needed = [w for flag, value in NEEDED[command].items() if flag != without for w in (f"--{flag}", value)]
    script = ["job.py"] if command == "launch" else []
    return command, [*needed, *words, *script]


def out_of_range() -> list[tuple[str, list[str], str]]:
    cases = []
    for command, flags in WRONG.items():
        for flag, values in flags.items():
            for value in values:
                words = value.split(" ")
                cases.append((*line(command, f"--{flag}", *words, without=flag), flag))
            if flag not in ("fresh", "weights", "folds"):  # the first takes no value, of the others none is fine
                cases.append((*line(command, f"--{flag}", without=flag), flag))
    return cases


LONG = "x" * 300
DEEP = "y/" * 3000
NO_UTF8 = os.fsdecode(b"caf\xe9")
READ = [
    ("bench", "dicom", ["--masks", "masks.csv", "rle"]),
    ("ensemble", "runs", []),
    ("ensemble", "expected", []),
    ("predict", "run", []),
    ("score", "truth", []),
    ("score", "submission", []),
    ("score", "dataset", []),
    ("shard", "dicom", []),
    ("shard", "test-dicom", []),
    ("shard", "masks", []),
    ("shard", "patients", []),
    ("train", "dataset", []),
    ("verify", "dataset", []),
]
"""Flags whose path is read, with what else is needed."""
MISSING = ["missing", "file/below", "loop", LONG, DEEP, NO_UTF8, "new\nline", "with space \u00fc", "\x1b[2J"]
WRITTEN = [("bench", "out", ["rle"]), ("ensemble", "out", []), ("score", "out", [])]
"""Flags whose path is a file to write."""
OCCUPIED = ["folder", "file/below", "loop", "pipe", "", ".", "..", LONG, DEEP]


def paths() -> list[tuple[str, list[str], str]]:
    cases = [
        (*line(command, f"--{flag}", path, *more, without=flag), "") for command, flag, more in READ for path in MISSING
    ]
    cases += [
        (*line(command, f"--{flag}", path, *more, without=flag), "")
        for command, flag, more in WRITTEN
        for path in OCCUPIED
    ]
    # A directory where a file is read, and a file where a directory is.
    cases += [
        (*line("score", "--truth", "folder", without="truth"), "Is a directory"),
        (*line("shard", "--masks", "folder"), "Is a directory"),
        (*line("shard", "--patients", "folder"), "Is a directory"),
        (*line("ensemble", "--expected", "folder"), "Is a directory"),
        (*line("ensemble", "--expected", "file"), "line 1"),
        (*line("train", "--dataset", "file", without="dataset"), "dataset.json"),
        (*line("train", "--dataset", "folder", without="dataset"), "no dataset.json"),
        (*line("ensemble", "--runs", "file", without="runs"), "recipe.json"),
        (*line("predict", "--run", "folder", without="run"), "recipe.json does not exist"),
        ("launch", ["missing.py"], "no script missing.py"),
        ("launch", [], "no script to start"),
        ("launch", ["--nodes", "2", "job.py"], "--master"),
        ("demo", ["--out", "folder", "--fresh"], "--fresh: folder holds no run of the demo"),
        ("demo", ["--out", "file", "--fresh"], "--fresh: file is no directory"),
    ]
    return cases


WORDS = [
    *((*line(command, *words.split()), "") for command in NEEDED for words in ("--nonesuch 1", "stray")),
    *((command, [], "") for command in NEEDED if command not in ("bench", "demo")),
    ("bench", ["nonesuch"], "nonesuch"),
    ("bench", ["rle", "nonesuch"], "nonesuch"),
    (*line("verify", "--workers", "\x1b[2J\n7", without="workers"), "workers"),
    (*line("train", "--loss.bce", "nan"), "--loss.bce nan; expected a finite number, 0 to"),
    (*line("ensemble", "--shares", "1"), "expected --weights, which replaced it"),
]
"""Flags that no command has, and words without a flag."""
CASES = [*out_of_range(), *paths(), *WORDS]
HELP = [(command, [flag]) for command in NEEDED for flag in ("--help", "--version")]
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
    """Exit code, standard output and standard error of each of ``CASES``, then of each of ``HELP``."""
    done = subprocess.run(
        [*warm(), JOB.parent / "tests" / "command_driver.py"],
        input=json.dumps([case[:2] for case in (*CASES, *HELP)]),
        cwd=directory,
        env=os.environ | {"COLUMNS": str(COLUMNS)},
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[tuple[Any, str, str]] = json.loads(done.stdout)
    assert len(found) == len(CASES) + len(HELP)
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


@pytest.mark.parametrize(("command", "answer"), [(h[0], i) for i, h in enumerate(HELP) if h[1] == ["--help"]])
def test_help_keeps_within_the_terminal_and_breaks_lines_only_where_they_are_full(
    command: str, answer: int, answers: list[tuple[Any, str, str]]
) -> None:
    code, out, errors = answers[len(CASES) + answer]
    assert (code, errors) == (0, "")
    assert f"usage: job/{command}.py " in out
    box = [line[1:-1].rstrip() for line in out.splitlines() if line.startswith("│")]
    assert max(map(len, box)) <= COLUMNS - 2
    column = re.search(r"^ -h, --help +", "\n".join(box), re.MULTILINE)[0]  # type: ignore[index]
    for this, following in itertools.pairwise(box):
        if this.startswith(" " * len(column)) and following.startswith(" " * len(column)):
            room = COLUMNS - 4 - len(this)
            assert len(following.split()[0]) >= room, "the first word of a line would fit on the one before"


@pytest.mark.parametrize(("command", "answer"), [(h[0], i) for i, h in enumerate(HELP) if h[1] == ["--version"]])
def test_the_version_is_printed(command: str, answer: int, answers: list[tuple[Any, str, str]]) -> None:
    assert answers[len(CASES) + answer] == [0, f"job/{command}.py {__version__}\n", ""]


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
    assert flags_of(load_command(command).Arguments) == WRONG[command].keys() | ANY[command].keys()
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


HOSTILE = [
    "=cmd|' calc'!A0",
    "@SUM(1)",
    "+1",
    "-1",
    "a;=1+1",
    "new\nline",
    "\t=tab",
    "\r=return",
    NO_UTF8,
    "\uff1d1",
]
"""Names of files."""


def test_names_that_a_spreadsheet_would_run_reach_no_csv(tmp_path: Path) -> None:
    source = tmp_path / "with space \u00fc\nnew line" / "dicom"
    source.mkdir(parents=True)
    uid = "1.2.826.0.1.3680043.8.498."
    lines = ["ImageId,EncodedPixels"]
    for number, hostile in enumerate(HOSTILE):
        (source / hostile).write_bytes(b"no DICOM")
        for kind, image_id in (("labeled", f"{uid}{number}"), ("unlabeled", f"{uid}9{number}")):
            write_dicom(
                source / f"{hostile}-{kind}", np.full((32, 32), number, np.uint8),
                image_id=image_id, patient_id=f"p{number}", view="PA", sex="F", age=50, spacing_mm=0.2,
                syntax="jpeg", photometric="MONOCHROME2",
            )  # fmt: skip
        lines.append(f"{uid}{number},-1")
    write_dicom(
        source / "formula", np.zeros((32, 32), np.uint8),
        image_id="=1+1", patient_id="p", view="PA", sex="F", age=50, spacing_mm=0.2,
        syntax="jpeg", photometric="MONOCHROME2",
    )  # fmt: skip
    (tmp_path / "masks.csv").write_text("\n".join([*lines, "1.2.3,-1"]) + "\n")
    out = source.parent / os.fsdecode(b"data set \xff")
    done = run(
        "shard",
        "--dicom",
        source,
        "--masks",
        tmp_path / "masks.csv",
        "--out",
        out,
        "--num-folds",
        2,
        "--max-quarantined",
        50,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    count = len(HOSTILE)
    assert (
        f"{3 * count + 1} files found = {count} samples + {count + 1} quarantined + 0 left out + {count} unlabeled"
        in done.stdout
    )
    rows = {file: list(csv.reader((out / file).open(newline=""))) for file in ("quarantine.csv", "unmatched.csv")}
    assert {file: len(found) for file, found in rows.items()} == {
        "quarantine.csv": count + 2,
        "unmatched.csv": count + 2,
    }
    cells = [cell for found in rows.values() for row in found for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\uff1d")]
    assert all(cell.isprintable() for cell in cells)
    assert "'=cmd|' calc'!A0" in cells
    assert r"new\nline" in cells


def test_encoder_weights_that_do_not_fit_leave_no_run(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"no weights")
    wrong = ["--dataset", dataset, "--run", tmp_path / "run", *RECIPE, "--model.encoder-weights", tmp_path / "w.pth"]
    (code, output), *_ = run_all([("train", wrong)])
    assert code == 2, output
    assert "w.pth cannot be read" in output
    assert not (tmp_path / "run" / "recipe.json").exists()
