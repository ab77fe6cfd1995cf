"""The public commands with test images on which a run's rule is moved to where it suits the mean of its folds."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pneumo.inference.decision_rule import DecisionRule, write_rule
from pneumo.inference.histograms import PredictionHistograms
from pneumo.masks import rle, submission
from pneumo.synthetic.tree import SyntheticTree

Call = Callable[..., tuple[object, str]]
MOVED = re.compile(
    r"of (\d+) test images single networks call (\S+)% positive, and their mean, by the same rule, (\S+)%; the rule for"
    r" new images is moved to (\S+)%"
)


@pytest.fixture
def dataset_of_new_images(synthetic: SyntheticTree, tmp_path: Path, call_on_one_core: Call) -> Path:
    """A dataset of test images alone: without masks, all images are."""
    words = ["--dicom", synthetic.test_dicom, "--test-dicom", synthetic.dicom, "--num-folds", "2"]
    code, output = call_on_one_core("shard", *words, "--out", tmp_path / "new")
    assert code in (0, None), output
    return tmp_path / "new"


def positives(path: Path) -> int:
    return sum(mask != rle.EMPTY for mask in submission.read(path).values())


def test_the_submission_is_by_the_moved_rule_and_the_run_keeps_its_own(
    alone: Path, dataset_of_new_images: Path, tmp_path: Path, call_on_one_core: Call
) -> None:
    run = shutil.copytree(alone, tmp_path / "run")
    presence = PredictionHistograms.read(run / "oof.parquet").presence_probability
    write_rule(run / "thresholds.json", DecisionRule(1, 0.0, 1, float(np.median(presence))))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.parent.name != "logs"}
    words = ["--runs", run, "--dataset", dataset_of_new_images]
    code, output = call_on_one_core("ensemble", *words, "--out", tmp_path / "moved.csv")
    assert code in (0, None), output
    found = MOVED.search(output)
    assert found is not None, output
    images, of_networks, _, share = map(float, found.groups())
    assert images == 38
    # As many as the networks call positive on average, rounded to a whole image.
    assert positives(tmp_path / "moved.csv") == round(38 * share / 100) == round(38 * of_networks / 100)
    assert {path: path.read_bytes() for path in before} == before

    # With its rule in metrics.json a run has been moved already, and decides as thresholds.json says.
    content = json.loads((run / "metrics.json").read_text())
    rule = json.loads((run / "thresholds.json").read_text())["rule"]
    content["submission_rule"] = {
        "rule": rule, "split": "test", "images": 9, "positive_share_of_networks": 0.5, "positive_share_before": 0.4,
        "positive_share": 0.5,
    }  # fmt: skip
    (run / "metrics.json").write_text(json.dumps(content))
    code, output = call_on_one_core("ensemble", *words, "--out", tmp_path / "kept.csv")
    assert code in (0, None), output
    assert MOVED.search(output) is None
    assert positives(tmp_path / "kept.csv") == round(38 * float(found[3]) / 100)
