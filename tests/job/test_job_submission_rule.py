"""The public commands with test images on which a run's rule is moved to where it suits the mean of its folds."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import job_commands
import numpy as np
import pytest
from job_commands import JOB, accelerate

from pneumo.inference import metrics
from pneumo.inference.decision_rule import DecisionRule, write_rule
from pneumo.inference.histograms import PredictionHistograms
from pneumo.masks import rle, submission
from pneumo.synthetic import dicom_tree

Call = Callable[..., tuple[object, str]]
MOVED = re.compile(
    r"of (\d+) test images the networks of a fold call (\S+)% positive, on average over the folds, and the mean of all"
    r" networks (\S+)% by the same rule, (\S+)% by its own rule"
)


@pytest.fixture
def dataset_of_new_images(tmp_path: Path, call_on_one_core: Call) -> Path:
    """A dataset of test images alone, other ones than those of the run: without masks, all images are."""
    tree = dicom_tree.write_tree(tmp_path / "tree", images=20, test_images=20, size=96, positive_fraction=0.5, seed=11)
    words = ["--dicom", tree.dicom, "--test-dicom", tree.test_dicom, "--num-folds", "2"]
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
    rule = DecisionRule(1, 0.0, 1, float(np.median(presence)))
    write_rule(run / "thresholds.json", rule)
    known = metrics.read(run / "metrics.json")
    known = replace(known, in_sample=replace(known.in_sample, rule=rule.in_probabilities()))
    metrics.write(run / "metrics.json", known)
    before = {run / name: (run / name).read_bytes() for name in ("thresholds.json", "metrics.json")}
    words = ["--runs", run, "--dataset", dataset_of_new_images]
    code, output = call_on_one_core("ensemble", *words, "--out", tmp_path / "moved.csv")
    assert code in (0, None), output
    found = MOVED.search(output)
    assert found is not None, output
    images, of_networks, before_share, share = map(float, found.groups())
    assert images == 40
    assert positives(tmp_path / "moved.csv") == round(images * share / 100)
    # As many as the networks call positive on average, but for the rounding to a whole image.
    assert abs(share - of_networks) <= 100 / images
    assert {path: path.read_bytes() for path in before} == before

    # Two ranks, each with half of the images, agree on the same rule.
    words = ["--runs", run, "--dataset", dataset_of_new_images]
    code, output = job_commands.run(
        [JOB / "ensemble.py", *words, "--out", tmp_path / "of_two.csv"], launcher=accelerate()
    )
    assert code == 0, output
    assert (tmp_path / "of_two.csv").read_bytes() == (tmp_path / "moved.csv").read_bytes()

    words = ["--runs", run, "--dataset", dataset_of_new_images, "--rule", "unmoved"]
    code, output = call_on_one_core("ensemble", *words, "--out", tmp_path / "unmoved.csv")
    assert code in (0, None), output
    assert MOVED.search(output) is None
    assert positives(tmp_path / "unmoved.csv") == round(images * before_share / 100)


def test_the_run_s_own_submission_is_by_its_own_rule(alone: Path, dataset: Path, call_on_one_core: Call) -> None:
    before = (alone / "submission.csv").read_bytes()
    words = ["--runs", alone, "--dataset", dataset, "--out", alone / "submission.csv", "--rule", "unmoved"]
    code, output = call_on_one_core("ensemble", *words)
    assert code == 2
    assert "--rule unmoved --out" in output
    assert "is the submission of the run; expected another file; give another --out" in output
    assert (alone / "submission.csv").read_bytes() == before
