"""Command lines that the commands refuse: each flag out of its range, each impossible path.

Every flag of every command is in ``WRONG`` or in ``ANY``; a new one without a line here fails a test.
"""

import os
from collections.abc import Sequence

FLOATS = ("nan", "inf", "-inf", "-1", "1e400", "x", "")
COUNTS = ("-1", "1.5", "1e3", "nan", "x", "", "9" * 30, "9" * 5000)
PATHS = "paths are in MISSING, OCCUPIED and ODD_NAMES"
SWITCH = "a switch takes no value"

NEEDED: dict[str, dict[str, str]] = {
    "bench": {},
    "compare": {"dataset": "dataset", "variants": "variants.txt", "out": "out"},
    "demo": {"out": "demo"},
    "ensemble": {"runs": "run", "dataset": "dataset", "out": "out.csv"},
    "export": {"run": "run", "out": "model"},
    "explore": {"dataset": "dataset", "out": "explore.html"},
    "launch": {},
    "report": {"run": "run"},
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
        "shard-files": ("19", "100001", *COUNTS),
        "source-size": ("63", "8193", *COUNTS),
        "size": ("31", "4097", *COUNTS),
        "train-size": ("31", "33", "4128", *COUNTS),
        "infer-size": ("31", "33", "4128", *COUNTS),
        "histograms": ("9", "100001", *COUNTS),
        "table-images": ("9", "100001", *COUNTS),
        "rules": ("0", "1000001", *COUNTS),
        "repeat": ("0", "1001", *COUNTS),
        "workers": ("0", "4097", *COUNTS),
        "dicom": ("folder",),
        "masks": ("masks.csv",),
    },
    "compare": {
        "runs": ("run", "run run", "run ./run"),
        "folds": ("127", "0 0", "0 -1", *COUNTS[:-3], *COUNTS[-2:]),
        "seeds": ("4294967296", "1 1", *COUNTS),
        "workers": ("4097", *COUNTS),
        "images-at-once": ("65537", *COUNTS),
        "checkpoint-minutes": ("10081", *FLOATS),
        "cache-share": ("1.1", *FLOATS),
        "expect-world": ("65537", *COUNTS),
        "rank-timeout": ("0", "604801", *FLOATS),
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
    "export": {},
    "explore": {
        "pictures": ("501", *COUNTS),
        "seed": ("4294967296", *COUNTS),
        "workers": ("0", "4097", *COUNTS),
    },
    "report": {},
    "launch": {
        "processes": ("0", "257", "-1", "1.5", "x", "", "\u00b2"),
        "nodes": ("0", "65537", *COUNTS),
        "node-rank": ("1", *COUNTS),
        "master": ("host", "host:", ":1", "host:x", "host:0", "host:65536", "host:-1"),
        "restarts": ("1000001", *COUNTS),
    },
    "predict": {
        "min-component": ("1048577", *FLOATS),
        "overlays": ("some", ""),
        "outputs": ("", "masks", "findings findings", "findings overlay"),
        "loader": ("pytorch", ""),
        "precision": ("fp8", ""),
        "workers": ("4097", *COUNTS),
        "time-limit": ("0", "86401", *FLOATS),
        "memory-limit": ("0", "1025", *FLOATS),
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
        "images-at-once": ("65537", *COUNTS),
        "checkpoint-minutes": ("10081", *FLOATS),
        "cache-share": ("1.1", *FLOATS),
        "expect-world": ("65537", *COUNTS),
        "rank-timeout": ("0", "604801", *FLOATS),
    },
    "verify": {"workers": ("0", "4097", *COUNTS)},
}

ANY: dict[str, dict[str, str]] = {
    "bench": {
        "parts": "a positional, see WORDS",
        "dataset": PATHS,
        "save-encoder": "checked by the recipe when the part that needs torch is measured",
        "out": PATHS,
    },
    "compare": {"dataset": PATHS, "variants": PATHS, "out": PATHS, "cache-dir": PATHS, "skip-damaged": SWITCH},
    "demo": {"out": PATHS},
    "ensemble": {"dataset": PATHS, "cache-dir": PATHS, "out": PATHS, "expected": PATHS, "skip-damaged": SWITCH},
    "export": {"run": PATHS, "dataset": PATHS, "out": PATHS, "onnx": SWITCH},
    "explore": {"dataset": PATHS, "out": PATHS},
    "launch": {},
    "report": {"run": PATHS, "dataset": PATHS, "drains": PATHS, "out": PATHS},
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
        "keep-unlabeled": SWITCH,
        "include-non-frontal": SWITCH,
    },
    "train": {
        "dataset": PATHS,
        "run": PATHS,
        "expected": PATHS,
        "teacher": PATHS,
        "cache-dir": PATHS,
        "skip-damaged": SWITCH,
        "dry-run": SWITCH,
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
            # The first takes no value, of the others none is fine.
            if flag not in ("fresh", "weights", "folds") and (command, flag) != ("compare", "runs"):
                cases.append((*line(command, f"--{flag}", without=flag), flag))
    return cases


LONG = "x" * 300
DEEP = "y/" * 3000
NO_UTF8 = os.fsdecode(b"caf\xe9")
READ = [
    ("bench", "dicom", ["--masks", "masks.csv", "rle"]),
    ("compare", "variants", []),
    ("ensemble", "runs", []),
    ("ensemble", "expected", []),
    ("export", "run", []),
    ("explore", "dataset", []),
    ("predict", "run", []),
    ("report", "run", []),
    ("report", "drains", []),
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
WRITTEN = [("bench", "out", ["rle"]), ("ensemble", "out", []), ("explore", "out", []), ("score", "out", [])]
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
        (
            *line("score", "--truth", "folder", without="truth"),
            "folder is a directory; expected a CSV",
        ),
        (
            *line("shard", "--masks", "folder"),
            "folder is a directory; expected a CSV",
        ),
        (*line("shard", "--patients", "folder"), "folder is a directory; expected a CSV"),
        (*line("ensemble", "--expected", "folder"), "folder is a directory; expected a CSV"),
        (*line("ensemble", "--expected", "file"), "line 1"),
        (*line("train", "--dataset", "file", without="dataset"), "dataset.json"),
        (*line("train", "--dataset", "folder", without="dataset"), "no dataset.json"),
        (*line("ensemble", "--runs", "file", without="runs"), "recipe.json"),
        (*line("predict", "--run", "folder", without="run"), "recipe.json does not exist"),
        (*line("export", "--run", "folder", without="run"), "recipe.json does not exist"),
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
