"""A recipe's smallest component holds for every command that predicts with its run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_driver import call
from finished_runs import finish_folds, tiny_recipe
from plain_histograms import quantize
from scipy import ndimage

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.inference.decision_rule import DecisionRule, write_rule
from pneumo.inference.ensembler import Ensembler
from pneumo.masks import rle, submission
from pneumo.synthetic.tree import SyntheticTree
from pneumo.training.ensemble import build_mean, smallest_component
from pneumo.training.run_metrics import finish_run

LIMIT = 9_000.0


def test_the_recipe_s_limit_holds_without_a_flag_and_a_smaller_flag_does_not_lower_it(
    dataset: Path, synthetic: SyntheticTree, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = finish_folds(tmp_path / "run", dataset, world, replace(tiny_recipe(), tta=(), min_component=LIMIT))
    reader = ShardReader(dataset, SampleTable.read(dataset))
    finish_run(run, world, reader, workers=1)
    assert (smallest_component([run]), smallest_component([run], 1.0), smallest_component([run], 1e5)) == (
        *(LIMIT, LIMIT),
        1e5,
    )
    # A rule under which an image has components of all sizes.
    bins: list[np.ndarray] = []
    mean, rows = build_mean([run], reader=reader, world=world, workers=1), reader.table.select("test")
    Ensembler(mean, DecisionRule(1, 0.0, 1)).run(rows, lambda image: bins.append(quantize(image.probability)))
    threshold = int(np.quantile(np.concatenate(bins, axis=None), 0.8))
    write_rule(run.thresholds, DecisionRule(threshold, 0.0, threshold))
    expected = {}
    for row, values in zip(rows.tolist(), bins, strict=True):
        labels, _ = ndimage.label(values >= threshold, np.ones((3, 3)))
        keep = np.bincount(labels.ravel()) * 1024**2 / labels.size >= LIMIT
        expected[str(reader.table.image_id[row])] = rle.encode((keep[labels] & (labels > 0)).astype(np.uint8))
        assert rle.encode((labels > 0).astype(np.uint8)) != expected[str(reader.table.image_id[row])]
    told = "while the metrics are of masks that lose those below 9000 px"
    for flags, path in (((), "own.csv"), (("--min-component", 1), "flag.csv"), (("--min-component", 1e6), "more.csv")):
        words = ["--runs", run.path, "--dataset", dataset, "--out", tmp_path / path, *flags]
        code, *output = call("ensemble", [*map(str, words)])
        assert code in (0, None), output
        assert (told in str(output)) == (path == "more.csv")
    assert dict(submission.read(tmp_path / "own.csv")) == dict(submission.read(tmp_path / "flag.csv")) == expected
    assert dict(submission.read(tmp_path / "more.csv")) != expected

    for number, flags in enumerate(((), ("--min-component", 1), ("--min-component", 1e6))):
        out = tmp_path / f"out-{number}"
        words = ["--run", run.path, "--dicom", synthetic.test_dicom, "--out", out, "--outputs", "predictions", *flags]
        code, *output = call("predict", [*map(str, words)])
        assert code in (0, None), output
        assert (told in str(output)) == (number == 2)
        assert (dict(submission.read(out / "predictions.csv")) == expected) == (number < 2)
