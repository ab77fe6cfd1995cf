import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pneumo.bench import race, search, source, table
from pneumo.bench.rle import crescent, loop_decode, loop_encode
from pneumo.inference import decision_rule
from pneumo.masks import rle
from pneumo.runtime.errors import UserError

BENCH = Path(__file__).parents[2] / "job" / "bench.py"

TINY = (
    *("--images", "6", "--source-size", "64", "--size", "32", "--train-size", "32", "--histograms", "40"),
    *("--rules", "3", "--repeat", "1", "--workers", "1", "--save-encoder", "mobilenet_v2"),
)
MEASURES = {"rle": 4, "shard": 3, "verify": 2, "load": 1, "train": 1, "save": 1, "search": 4}
"""The least number of measures of each part; DALI and a GPU add some."""


def bench(directory, *words):
    """Run the command from ``directory`` and return the finished process."""
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, BENCH, *words], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def command():
    """Give job/bench.py as a module."""
    return SimpleNamespace(**runpy.run_path(str(BENCH)))


def check(content, parts):
    """Every figure is a positive number, and every part of ``parts`` has its measures, and no other."""
    assert {"cores", "processor", "torch", "GPU"} <= content["machine"].keys()
    measures = content["measures"]
    for measure in measures:
        assert measure["what"]
        assert measure["peer"]
        assert measure["unit"]
        figures = [measure[name] for name in ("ours", "theirs", "ratio", "lowest", "highest")]
        assert all(math.isfinite(figure) and figure > 0 for figure in figures), measure
        assert measure["lowest"] <= measure["ratio"] <= measure["highest"]
    names = [measure["part"] for measure in measures]
    assert list(dict.fromkeys(names)) == parts
    for part in parts:
        assert names.count(part) >= MEASURES[part]


def test_every_part_gives_ratios(tmp_path):
    done = bench(tmp_path, *TINY, "--out", "new/figures.json")
    assert done.returncode == 0, done.stderr
    check(json.loads((tmp_path / "new/figures.json").read_text()), list(MEASURES))
    lines = done.stdout.splitlines()
    assert lines[0].startswith("cores ")
    (head,) = (line for line in lines if line.startswith("part "))
    assert all(heading in head for heading in table.HEADINGS)
    for part, least in MEASURES.items():
        assert sum(line.startswith(f"{part} ") for line in lines) >= least


def test_named_parts_alone_are_measured(tmp_path, command):
    words = ("rle", *TINY, "--out", str(tmp_path / "figures.json"))
    command.main(command.cli.parse(command.Arguments, words, prog="bench.py", description=""))
    check(json.loads((tmp_path / "figures.json").read_text()), ["rle"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"repeat": 0}, "--repeat 0; expected 1 to 1000"),
        ({"train_size": 100}, "a multiple of 32"),
        ({"dicom": Path("here")}, "both or neither"),
    ],
    ids=["repeat", "size", "masks"],
)
def test_wrong_settings_are_refused(values, said):
    with pytest.raises(UserError, match=said):
        source.Settings(**values)


def test_a_folder_that_is_missing_is_refused_in_one_line(tmp_path):
    done = bench(tmp_path, "shard", "--dicom", "nowhere", "--masks", "masks.csv")
    assert done.returncode == 2
    assert "--dicom nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_part_is_refused(command, capsys):
    with pytest.raises(SystemExit) as stop:
        command.cli.parse(command.Arguments, ["everything"], prog="bench.py", description="")
    assert stop.value.code == 2
    assert "everything" in capsys.readouterr().err


def test_real_files_are_spread_over_the_folder_and_keep_their_paths(tmp_path):
    root = tmp_path / "real"
    for number in range(9):
        path = root / f"study-{number}" / "image"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes([number]))
    settings = source.Settings(dicom=root, masks=tmp_path / "masks.csv", images=3)
    inputs = source.Source(settings, tmp_path / "work").inputs
    copied = {path.relative_to(inputs.dicom).as_posix() for path in inputs.dicom.rglob("image")}
    assert copied == {"study-0/image", "study-4/image", "study-8/image"}


def test_race_takes_turns_and_leaves_the_first_round_out():
    calls = []
    seconds = race.race([lambda: calls.append("a"), lambda: calls.append("b")], 3, prepare=lambda: calls.append("-"))
    # One round outside of the time, then three, each led by the next contender.
    assert "".join(calls).replace("-", "") == "ab" + "ab" + "ba" + "ab"
    assert calls[::2] == ["-"] * 8
    assert [len(rounds) for rounds in seconds] == [3, 3]


def test_ratio_is_the_median_of_the_rounds():
    rounds = {"ours": [1.0, 2.0, 1.0], "theirs": [10.0, 40.0, 30.0]}
    measure = race.per_item("part", "what", "peer", "ms", **rounds, scale=1000)
    assert (measure.ours, measure.theirs) == (1000, 30000)
    assert (measure.lowest, measure.ratio, measure.highest) == (10, 20, 30)
    rate = race.per_second("part", "what", "peer", "img/s", **rounds, items=60)
    assert (rate.ours, rate.theirs, rate.ratio) == (60, 2, 20)


@pytest.mark.parametrize("area", [600, 8630, 45642])
def test_loops_give_the_same_masks(area):
    mask = crescent(128, area)
    assert mask.sum() == pytest.approx(area / 64, rel=0.15, abs=8)
    text = rle.encode(mask)
    assert loop_encode(mask) == text
    assert np.array_equal(loop_decode(text, *mask.shape), mask)
    assert loop_encode(np.zeros((3, 2), np.uint8)) == "-1"


def test_loop_over_the_rules_finds_the_search_s_best():
    evidence = search.draw(30, head=True)
    grids = decision_rule.SearchGrid(
        top_thresholds=(32, 96, 160),
        min_areas=(0.0, 1000.0),
        bottom_thresholds=(32, 96),
        presence_thresholds=(0.0, 0.5),
    )
    every = search.rules(grids)
    assert len(every) == len(set(every)) == (1 + 2 + 2) * 2 * 2
    found = decision_rule.score_images(evidence, decision_rule.search(evidence, grids)).mean()
    assert max(search.loop(evidence, [decision_rule.DecisionRule(*rule) for rule in every])) == pytest.approx(found)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0123, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (12345.6, "12,346")],
)
def test_numbers_have_three_digits(value, shown):
    assert table.number(value) == shown
