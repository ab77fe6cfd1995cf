"""The public commands with a run whose masks are decided by expected score."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pneumo.inference import metrics
from pneumo.inference.decision_rule import DecisionRule, write_rule
from pneumo.inference.expected_score import AREA_BINS, RANGES, ExpectedScore
from pneumo.inference.histograms import PredictionHistograms
from pneumo.masks import rle, submission
from pneumo.synthetic.tree import SyntheticTree

Call = Callable[..., tuple[object, str]]
WORDS = "positive with a mask whose expected Dice"


@pytest.fixture(scope="module")
def by_score(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = shutil.copytree(alone, tmp_path_factory.mktemp("by_score") / "run")
    histograms = PredictionHistograms.read(copy / "oof.parquet")
    # Half of all pixels are at or above it, whatever the networks have learned: these are probably a lesion's.
    middle = np.searchsorted(
        np.cumsum((histograms.inside + histograms.outside).sum(axis=0)), histograms.pixels.sum() / 2
    )
    estimates = ExpectedScore(
        presence_intercept=20.0,
        head_weight=1.0,
        max_pixel_weight=1.0,
        area_weights=(0.1,) * len(AREA_BINS),
        lesion_shares=tuple(0.9 if first >= middle else 0.05 for first in RANGES),
        dice_intercept=5.0,
        dice_weight=1.0,
    )
    write_rule(copy / "thresholds.json", DecisionRule(128, 0.0, 64, 0.0, estimates))
    return copy


def test_submission_prediction_and_export_decide_alike(
    by_score: Path, dataset: Path, synthetic: SyntheticTree, tmp_path: Path, call_on_one_core: Call
) -> None:
    words = ["--runs", by_score, "--dataset", dataset, "--out", tmp_path / "s.csv"]
    code, output = call_on_one_core("ensemble", *words)
    assert (code, WORDS in output) == (0, True), output
    submitted = submission.read(tmp_path / "s.csv")
    assert any(mask != rle.EMPTY for mask in submitted.values())
    code, output = call_on_one_core("export", "--run", by_score, "--no-onnx", "--out", tmp_path / "model")
    assert code in (0, None), output
    assert WORDS in (tmp_path / "model" / "model_card.md").read_text().replace("Positive", "positive")
    for run in (by_score, tmp_path / "model"):
        out = tmp_path / f"of_{run.name}"
        code, output = call_on_one_core("predict", "--run", run, "--dicom", synthetic.test_dicom, "--out", out)
        assert code in (0, None), output
        with (out / "predictions.csv").open() as file:
            assert {row["ImageId"]: row["EncodedPixels"] for row in csv.DictReader(file)} == submitted


def test_a_blend_without_folds_in_common_averages_the_thresholds(
    by_score: Path, alone: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call
) -> None:
    other = shutil.copytree(alone, tmp_path / "other")
    write_rule(other / "thresholds.json", DecisionRule(64, 0.0, 32))
    words = ["--runs", by_score, other, "--dataset", dataset, "--out", tmp_path / "s.csv", "--rule", "mean"]
    code, output = call_on_one_core("ensemble", *words)
    assert (code, "of probability >= 0.375; the mask is every pixel of probability >= 0.188" in output) == (0, True), (
        output
    )


def test_the_report_compares_both_kinds_and_keeps_the_rule_of_a_run_of_before(
    alone: Path, tmp_path: Path, call_on_one_core: Call
) -> None:
    copy = shutil.copytree(alone, tmp_path / "run")
    assert metrics.read(copy / "metrics.json").rule_comparison is not None
    code, output = call_on_one_core("report", "--run", copy)
    assert code in (0, None), output
    assert "Nested scores of both kinds of rules" in (copy / "report.html").read_text()
    content = json.loads((copy / "metrics.json").read_text())
    del content["rule_comparison"]
    (copy / "metrics.json").write_text(json.dumps(content))
    code, output = call_on_one_core("report", "--run", copy)
    assert code in (0, None), output
    assert "Nested scores of both kinds of rules" not in (copy / "report.html").read_text()
