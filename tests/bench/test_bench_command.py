"""job/bench.py: every part gives ratios."""

import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pneumo.bench import table, train
from pneumo.runtime.errors import UserError

BENCH = Path(__file__).parents[2] / "job" / "bench.py"

TINY = (
    *("--images", "6", "--source-size", "64", "--size", "32", "--train-size", "32", "--histograms", "40"),
    *("--infer-size", "32", "--rules", "3", "--repeat", "1", "--workers", "1", "--table-images", "10"),
    *("--shard-files", "20", "--save-encoder", "mobilenet_v2"),
)
COMPARISONS = {
    "start": 6,
    "rle": 6,
    "shard": 10,
    "verify": 2,
    "copy": 3,
    "plan": 5,
    "load": 5,
    "infer": 5,
    "predict": 1,
    "train": 4,
    "ranks": 3,
    "save": 4,
    "search": 6,
    "folds": 9,
}
"""The least number of comparisons of each part; DALI and a GPU add some."""
FEW = ("rle", "plan", "copy")
"""Parts of seconds; those that start commands or train take minutes in all."""
AS_A_USER = ("rle", "shard")
"""Parts that a test starts by ./launch.sh bench."""


@pytest.fixture
def command(monkeypatch):
    """Load job/bench.py as a module."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield SimpleNamespace(**runpy.run_path(str(BENCH)))
    torch.set_num_threads(1)  # the benchmarks take all cores


def check(content, parts):
    """Every value is a positive number, and every part of ``parts`` has its comparisons, and no other."""
    assert {"cores", "processor", "torch", "GPU"} <= content["machine"].keys()
    comparisons = content["comparisons"]
    for comparison in comparisons:
        assert comparison["what"]
        assert comparison["baseline"]
        assert comparison["unit"]
        values = [comparison[name] for name in ("ours", "theirs", "ratio", "lowest", "highest")]
        assert all(math.isfinite(value) and value > 0 for value in values), comparison
        assert comparison["lowest"] <= comparison["ratio"] <= comparison["highest"]
    names = [comparison["part"] for comparison in comparisons]
    assert list(dict.fromkeys(names)) == parts
    for part in parts:
        assert names.count(part) >= COMPARISONS[part]


@pytest.mark.slow
def test_every_part_gives_ratios(tmp_path, command, monkeypatch):
    monkeypatch.setattr(train, "STEPS", 1)
    monkeypatch.setattr(train, "CPU_STEPS", 1)
    parts = [part for part in COMPARISONS if part not in AS_A_USER]
    words = (*parts, *TINY, "--out", str(tmp_path / "results.json"))
    command.main(command.cli.parse(command.Arguments, words, prog="bench.py", description=""))
    check(json.loads((tmp_path / "results.json").read_text()), parts)


def test_the_table_is_printed_and_written(tmp_path, command, capsys):
    parts = [part for part in COMPARISONS if part in FEW]
    words = (*parts, *TINY, "--out", str(tmp_path / "new/results.json"))
    command.main(command.cli.parse(command.Arguments, words, prog="bench.py", description=""))
    check(json.loads((tmp_path / "new/results.json").read_text()), parts)
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in (tmp_path / "new/results.md").read_text().splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {line.split()[0]}" for line in lines[3 : len(rows) + 1]]
    assert all(row.count(" | ") == len(table.HEADINGS) - 1 for row in rows)
    assert lines[0].startswith("cores ")
    (head,) = (line for line in lines if line.startswith("part "))
    assert all(heading in head for heading in table.HEADINGS)
    for part in parts:
        assert sum(line.startswith(f"{part} ") for line in lines) >= COMPARISONS[part]


@pytest.mark.slow
def test_only_the_named_parts_are_measured(tmp_path):
    """As a user starts it: the processes of ``shard`` find the command's file."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PNEUMO_PYTHON": sys.executable}
    words = [BENCH.parents[1] / "launch.sh", "bench", *AS_A_USER, *TINY, "--out", "results.json"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check(json.loads((tmp_path / "results.json").read_text()), list(AS_A_USER))


def test_a_dataset_that_no_part_reads_is_refused(tmp_path, command):
    words = ("copy", "rle", "--dataset", str(tmp_path))
    with pytest.raises(UserError, match="a part that reads one: load, infer"):
        command.main(command.cli.parse(command.Arguments, words, prog="bench.py", description=""))


@pytest.mark.parametrize(
    ("out", "files", "found"),
    [
        ("results.md", {}, "a file name that ends in .json"),
        ("results.json", {"results.md": "mine"}, "results.md, which would be replaced"),
        ("results.json", {"results.json": "{}"}, "no earlier result of this command"),
    ],
    ids=["suffix", "markdown", "json"],
)
def test_files_of_the_users_own_are_not_replaced(tmp_path, command, out, files, found):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    words = ("rle", *TINY, "--out", str(tmp_path / out))
    with pytest.raises(UserError, match=found):
        command.main(command.cli.parse(command.Arguments, words, prog="bench.py", description=""))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files
