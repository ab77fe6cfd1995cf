"""The rule of several runs is that of their mean where it can be searched, and the mean of their rules elsewhere."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_runs import finish_folds, tiny_recipe
from moved_rules import choose_half
from plain_histograms import histogram, quantize
from scipy import ndimage

from pneumo.dataset.build import BuildInputs, BuildOptions, build
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.inference import metrics, rule_transfer
from pneumo.inference.decision_rule import NEVER, DecisionRule, read_rule, write_rule
from pneumo.inference.ensembler import Ensembler
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import BlendedRun
from pneumo.inference.network_mean import NetworkMean
from pneumo.inference.prediction import split_batches
from pneumo.inference.rule_choice import choose
from pneumo.inference.submission_rule import find_submission_rule
from pneumo.masks import rle
from pneumo.runtime.errors import UserError
from pneumo.synthetic.tree import SyntheticTree
from pneumo.training import blended_rule, run_directory
from pneumo.training.blended_rule import ChosenRule, choose_rule, metrics_path, publish_metrics
from pneumo.training.ensemble import build_mean
from pneumo.training.run_directory import RunDirectory
from pneumo.training.run_metrics import finish_run

MEAN_OF_RULES = DecisionRule(175, 1250.0, 85, 0.5)
"""Of the runs' rules, 3 to 1."""


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture(scope="module")
def finished(
    dataset: Path, reader: ShardReader, world: World, tmp_path_factory: pytest.TempPathFactory
) -> list[RunDirectory]:
    """Two runs on the same folds, one of them without a presence head."""
    headless = replace(tiny_recipe().model, presence_head=False)
    recipes = tiny_recipe(), replace(tiny_recipe(), model=headless, loss=replace(tiny_recipe().loss, presence=0.0))
    directory = tmp_path_factory.mktemp("runs")
    runs = [finish_folds(directory / str(i), dataset, world, recipe, seed=i) for i, recipe in enumerate(recipes)]
    for run in runs:
        finish_run(run, world, reader, workers=1)
    return runs


@pytest.fixture
def runs(finished: list[RunDirectory], tmp_path: Path) -> list[RunDirectory]:
    """Runs of its own for each test, with rules whose mean is known."""
    copies = [run_directory.load(shutil.copytree(run.path, tmp_path / run.path.name)) for run in finished]
    write_rule(copies[0].thresholds, DecisionRule(200, 1000.0, 80, 0.5))
    write_rule(copies[1].thresholds, DecisionRule(100, 2000.0, 100))
    return copies


def make(runs: list[RunDirectory], reader: ShardReader, world: World) -> NetworkMean:
    return build_mean(runs, (3.0, 1.0), reader=reader, world=world, workers=1)


@pytest.mark.parametrize("limit", [pytest.param(0.0, marks=pytest.mark.slow), 9_000.0])
def test_the_rule_is_searched_on_the_mean_of_the_networks_that_have_not_seen_an_image(
    limit: float, runs: list[RunDirectory], reader: ShardReader, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And on masks without the small components that the blend's submission will be without."""
    seen = []
    real = blended_rule.predict_mean_histograms

    def keep(*arguments: Any, **options: Any) -> object:
        seen.append(real(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(blended_rule, "predict_mean_histograms", keep)
    mean = make(runs, reader, world)
    chosen = choose_rule(runs, mean, "auto", limit)
    rule, found = chosen.rule, chosen.metrics
    (histograms,) = seen
    assert rule == choose(histograms).final
    table = reader.table
    assert sorted(histograms.image_id.tolist()) == sorted(table.image_id[table.select("train")].tolist())
    for fold in (0, 1):
        (index,) = (histograms.fold == fold).nonzero()
        rows = table.select("train", {fold})
        assert histograms.image_id[index].tolist() == table.image_id[rows].tolist()
        predicted = [
            (row, batch.probability(i).numpy())
            for batch in mean.predict(split_batches(rows), fold)
            for i, row in enumerate(batch.rows)
        ]
        for i, (row, probability) in zip(index.tolist(), predicted, strict=True):
            counts = histogram(quantize(probability), rle.decode(reader.rle(row), *table.shape(row)))
            assert [histograms.outside[i].tolist(), histograms.inside[i].tolist()] == counts.tolist()
            for b in np.quantile(quantize(probability), [0.3, 0.8, 0.95]).astype(int).tolist():
                labels, _ = ndimage.label(quantize(probability) >= b, np.ones((3, 3)))
                areas = np.bincount(labels.ravel())[1:]
                assert histograms.masked[i, b] == areas[areas * 1024**2 / labels.size >= limit].sum()

    assert ((histograms.predicted - histograms.masked).sum() > 0) == (limit > 0)
    assert found is not None
    assert found.min_component == limit
    assert (found.images, found.networks, found.submission_networks) == (32, 2, 4)
    assert found.in_sample.rule == rule.in_probabilities()
    own = [metrics.read(run.metrics).nested.dice for run in runs]
    assert [(r.run, r.weight, r.nested_dice) for r in found.runs] == [
        (str(runs[0].path), 0.75, own[0]),
        (str(runs[1].path), 0.25, own[1]),
    ]
    assert not [caveat for caveat in found.caveats if "single networks" in caveat]


def test_images_that_a_run_excluded_are_not_scored(
    dataset: Path, finished: list[RunDirectory], reader: ShardReader, world: World, tmp_path: Path
) -> None:
    train = reader.table.select("train")
    excluded = {str(reader.table.image_id[row]): "its CRC differs" for row in train[[1, 20]].tolist()}
    other = finish_folds(tmp_path / "other", dataset, world, excluded=excluded, seed=2)
    finish_run(other, world, reader, workers=1)
    runs = [finished[0], other]
    found = choose_rule(runs, make(runs, reader, world), "out-of-fold").metrics
    assert found is not None
    assert (found.images, found.excluded) == (len(train) - 2, 2)


def test_the_mean_of_rules_is_taken_when_it_is_asked_for(
    runs: list[RunDirectory], reader: ShardReader, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = choose_rule(runs, make(runs, reader, world), "mean")
    assert chosen == ChosenRule(MEAN_OF_RULES, metrics=None)
    assert "no metrics are known for this blend" in caplog.text


def test_without_the_runs_dataset_the_mean_of_rules_is_taken(
    runs: list[RunDirectory],
    world: World,
    synthetic: SyntheticTree,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    build(BuildInputs(dicom=synthetic.test_dicom), tmp_path / "new", BuildOptions(num_folds=2, workers=1))
    other = ShardReader(tmp_path / "new", SampleTable.read(tmp_path / "new"))
    mean = make(runs, other, world)
    assert choose_rule(runs, mean, "auto") == ChosenRule(MEAN_OF_RULES, metrics=None)
    assert f"{runs[0].path} was not trained on {tmp_path / 'new'}" in caplog.text
    with pytest.raises(UserError, match=r"--rule out-of-fold: .* was not trained on .*; give --rule mean"):
        choose_rule(runs, mean, "out-of-fold")


def test_runs_of_other_folds_have_no_predictions_in_common(
    runs: list[RunDirectory], reader: ShardReader, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mean = make(runs, reader, world)
    runs[1] = replace(runs[1], dataset=replace(runs[1].dataset, folds_digest="0" * 64))
    assert choose_rule(runs, mean, "auto") == ChosenRule(MEAN_OF_RULES, metrics=None)
    assert f"{runs[1].path} has other folds than" in caplog.text


def test_a_rule_that_calls_every_image_empty_has_no_mean(
    runs: list[RunDirectory], reader: ShardReader, world: World, tmp_path: Path
) -> None:
    write_rule(runs[1].thresholds, DecisionRule(128, NEVER, 128))
    mean = make(runs, reader, world)
    with pytest.raises(UserError, match=f"the decision rule of {runs[1].path} calls every image empty"):
        choose_rule(runs, mean, "mean")
    assert choose_rule(runs, mean, "auto").metrics is not None, "searched, not averaged"


def test_a_single_run_keeps_its_rule(
    runs: list[RunDirectory], reader: ShardReader, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    mean = build_mean(runs[:1], reader=reader, world=world, workers=1)
    for source in ("auto", "out-of-fold", "mean"):
        expected = ChosenRule(read_rule(runs[0].thresholds), metrics=None)
        assert choose_rule(runs[:1], mean, source) == expected
    assert "masks lose" not in caplog.text
    assert choose_rule(runs[:1], mean, "auto", 101.0) == expected
    told = "masks lose their components below 101 px (of 1024x1024), while the metrics are of masks that keep all"
    assert f"{runs[0].path}: {told}" in caplog.text


def test_the_rule_of_a_blend_is_moved_for_the_mean_over_folds(
    runs: list[RunDirectory], reader: ShardReader, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blended_rule, "choose", choose_half)
    monkeypatch.setattr(rule_transfer, "MIN_POSITIVE", 1)
    mean = make(runs, reader, world)
    chosen = choose_rule(runs, mean, "auto")
    assert chosen.metrics is not None
    final = DecisionRule.from_probabilities(chosen.metrics.in_sample.rule)
    moved = find_submission_rule(final, mean, reader.table.select("test"))
    assert moved is not None
    assert chosen.metrics.submission_rule == moved
    assert chosen.rule.in_probabilities() == moved.rule != chosen.metrics.in_sample.rule
    unmoved = choose_rule(runs, mean, "unmoved")
    assert unmoved == ChosenRule(final, replace(chosen.metrics, submission_rule=None))


def test_a_single_run_s_rule_is_moved_on_new_test_images_if_it_was_moved_on_none(
    runs: list[RunDirectory],
    world: World,
    synthetic: SyntheticTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(rule_transfer, "MIN_POSITIVE", 1)
    inputs = BuildInputs(dicom=synthetic.dicom, test_dicom=synthetic.test_dicom, masks=synthetic.masks)
    build(inputs, tmp_path / "new", BuildOptions(num_folds=3, workers=1))
    other = ShardReader(tmp_path / "new", SampleTable.read(tmp_path / "new"))
    mean = build_mean(runs[:1], reader=other, world=world, workers=1)
    rule = choose_half(PredictionHistograms.read(runs[0].histograms)).final
    known = metrics.read(runs[0].metrics)
    known = replace(known, in_sample=replace(known.in_sample, rule=rule.in_probabilities()))
    metrics.write(runs[0].metrics, known)
    write_rule(runs[0].thresholds, rule)
    moved = find_submission_rule(rule, mean, other.table.select("test"))
    assert moved is not None
    with caplog.at_level("INFO"):
        chosen = choose_rule(runs[:1], mean, "auto")
    assert chosen == ChosenRule(DecisionRule.from_probabilities(moved.rule), None)
    assert chosen.rule != rule
    assert f"{runs[0].path}, for this submission alone: {metrics.describe_move(moved)}" in caplog.text
    assert read_rule(runs[0].thresholds) == rule, "a finished run is only read"
    assert choose_rule(runs[:1], mean, "unmoved") == ChosenRule(rule, None)
    # Without the ids of the images that were trained on.
    of_fold = runs[0].fold(0).histograms
    kept = of_fold.read_bytes()
    of_fold.unlink()
    assert choose_rule(runs[:1], mean, "auto") == ChosenRule(rule, None)
    assert "the rule of single networks decides, as the images it was chosen on are not known" in caplog.text
    of_fold.write_bytes(kept)
    # Changed by hand, and moved before: both stay.
    write_rule(runs[0].thresholds, MEAN_OF_RULES)
    assert choose_rule(runs[:1], mean, "auto") == ChosenRule(MEAN_OF_RULES, None)
    assert "changed since" not in caplog.text
    assert choose_rule(runs[:1], mean, "unmoved") == ChosenRule(rule, None)
    told = f"takes the rule of {runs[0].metrics}, and not that of {runs[0].thresholds}, which was changed since"
    assert told in caplog.text
    write_rule(runs[0].thresholds, chosen.rule)
    metrics.write(runs[0].metrics, replace(known, submission_rule=moved))
    assert choose_rule(runs[:1], mean, "auto") == chosen
    assert choose_rule(runs[:1], mean, "unmoved") == ChosenRule(rule, None)


def test_no_rule_is_moved_on_images_that_were_trained_on(
    runs: list[RunDirectory],
    world: World,
    synthetic: SyntheticTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rule_transfer, "MIN_POSITIVE", 1)
    build(BuildInputs(dicom=synthetic.dicom), tmp_path / "new", BuildOptions(num_folds=2, workers=1))
    other = ShardReader(tmp_path / "new", SampleTable.read(tmp_path / "new"))
    assert len(other.table.select("test")) == 32
    mean = build_mean(runs[:1], reader=other, world=world, workers=1)
    known = metrics.read(runs[0].metrics)
    rule = choose_half(PredictionHistograms.read(runs[0].histograms)).final
    metrics.write(runs[0].metrics, replace(known, in_sample=replace(known.in_sample, rule=rule.in_probabilities())))
    write_rule(runs[0].thresholds, rule)
    monkeypatch.setattr(NetworkMean, "predict_folds", lambda *_: pytest.fail("predicted"))
    assert choose_rule(runs[:1], mean, "auto") == ChosenRule(rule, None)


def test_the_mean_of_rules_before_they_were_moved(
    runs: list[RunDirectory], reader: ShardReader, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    mean = make(runs, reader, world)
    for run, rule in zip(runs, (DecisionRule(200, 1000.0, 80, 0.5), DecisionRule(100, 2000.0, 100)), strict=True):
        known = metrics.read(run.metrics)
        known = replace(known, in_sample=replace(known.in_sample, rule=rule.in_probabilities()))
        metrics.write(run.metrics, known)
        write_rule(run.thresholds, DecisionRule(9, 0.0, 9))
    runs[1] = replace(runs[1], dataset=replace(runs[1].dataset, folds_digest="0" * 64))
    assert choose_rule(runs, mean, "unmoved") == ChosenRule(MEAN_OF_RULES, metrics=None)
    assert choose_rule(runs, mean, "auto") == ChosenRule(DecisionRule(9, 0.0, 9), metrics=None)


def test_the_mean_of_rules_is_scored_on_the_same_predictions(
    runs: list[RunDirectory], reader: ShardReader, world: World, tmp_path: Path
) -> None:
    """Every fold's rule of both runs is the same: then it is their mean, and scores as it scores the blend."""
    rule = DecisionRule(128, 0.0, 128)
    for run in runs:
        known = metrics.read(run.metrics)
        folds = [replace(fold, rule=rule.in_probabilities()) for fold in known.folds]
        metrics.write(run.metrics, replace(known, folds=folds))
    mean = make(runs, reader, world)
    chosen = choose_rule(runs, mean, "auto")
    assert chosen.metrics is not None
    found = chosen.metrics.mean_of_rules
    assert found is not None
    rows = reader.table.select("train")
    predicted = {
        row: batch.probability(i).numpy()
        for fold in (0, 1)
        for batch in mean.predict([reader.table.select("train", {fold})], fold)
        for i, row in enumerate(batch.rows)
    }
    dice = []
    for row in rows.tolist():
        mask = quantize(predicted[row]) >= 128
        truth = rle.decode(reader.rle(row), *mask.shape).astype(bool)
        size = int(mask.sum()) + int(truth.sum())
        dice.append(2 * int((mask & truth).sum()) / size if size else 1.0)
    assert found.dice == pytest.approx(sum(dice) / len(dice), abs=1e-12)


def test_the_ensembler_takes_the_rule_that_was_chosen(
    runs: list[RunDirectory], reader: ShardReader, world: World
) -> None:
    mean = make(runs, reader, world)
    rows = reader.table.select("test")
    predictions = Ensembler(mean, DecisionRule(1, 0.0, 1)).run(rows)
    assert [p.image_id for p in predictions] == reader.table.image_id[rows].tolist()
    assert all(p.mask_area for p in predictions)


def test_metrics_lie_beside_the_submission() -> None:
    assert metrics_path(Path("runs/blend.csv")) == Path("runs/blend.metrics.json")
    assert metrics_path(Path("a.b.csv")) == Path("a.b.metrics.json")


def test_metrics_are_those_of_the_submission_beside_them(runs: list[RunDirectory], tmp_path: Path) -> None:
    out = tmp_path / "blend.csv"
    of_run = metrics.read(runs[0].metrics)
    of_blend = replace(of_run, runs=[BlendedRun(run="a", weight=1.0, nested_dice=0.5)])
    publish_metrics(out, of_blend)
    assert metrics.read(metrics_path(out)) == of_blend
    publish_metrics(out, None)
    assert not metrics_path(out).exists()
    publish_metrics(out, None)
    # A copy of a run's metrics, which this command does not write.
    metrics.write(metrics_path(out), of_run)
    publish_metrics(out, None)
    assert metrics.read(metrics_path(out)) == of_run
