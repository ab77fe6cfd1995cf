"""What finishing a run writes: once, in agreement with itself, and only when all folds are there."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from eager_fit import fit_eagerly
from finished_runs import finish_folds, tiny_recipe
from moved_rules import choose_half
from scipy import ndimage

from pneumo.dataset.build import BuildInputs, BuildOptions, build
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.inference import metrics, rule_choice, rule_transfer
from pneumo.inference.decision_rule import DecisionRule, predict_presence, read_rule, score_images
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.nested import NestedEstimate, score_subsets
from pneumo.inference.rule_choice import apply_recorded, choose
from pneumo.inference.submission_rule import find_submission_rule
from pneumo.masks import rle, submission
from pneumo.runtime.errors import UserError
from pneumo.synthetic.tree import SyntheticTree
from pneumo.training import out_of_fold_masks, run_directory, run_metrics, run_start
from pneumo.training.ensemble import build_mean
from pneumo.training.fold_results import trained_weights
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import debug
from pneumo.training.run_directory import DatasetIdentity, RunDirectory
from pneumo.training.run_metrics import caveats, finish_run, is_finished

FILES = {"metrics.json", "thresholds.json", "oof.parquet", "oof.csv", "overlay.png"}
DATASET = DatasetIdentity(digest="a" * 64, folds_digest="b" * 64, num_folds=5, grouped_by="dicom", patients=9)


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture(scope="module")
def folds(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish_folds(tmp_path_factory.mktemp("run") / "run", dataset, world).path


@pytest.fixture
def run(folds: Path, tmp_path: Path) -> RunDirectory:
    """A run of its own for each test."""
    return run_directory.load(shutil.copytree(folds, tmp_path / "run"))


def written(run: RunDirectory) -> set[str]:
    return {p.name for p in run.path.iterdir() if p.is_file()} - {"recipe.json", ".lock"}


def test_the_results_agree_with_one_another(run: RunDirectory, reader: ShardReader, world: World) -> None:
    finish_run(run, world, reader, workers=1)
    assert written(run) == FILES
    found = metrics.read(run.metrics)
    histograms = PredictionHistograms.read(run.histograms)
    assert found.images == len(histograms) == 32
    assert read_rule(run.thresholds) == choose(histograms).final
    assert found.in_sample.rule == read_rule(run.thresholds).in_probabilities()
    assert list(submission.read(run.masks)) == histograms.image_id.tolist()
    assert found.oof_csv_dice == pytest.approx(found.nested.dice, abs=1e-12)
    assert (found.networks, found.submission_networks, found.runs, found.mean_of_rules) == (1, 2, [], None)
    assert found.excluded == 0
    assert [caveat for caveat in found.caveats if "single networks, while a submission is the mean of 2" in caveat]
    assert cv2.imread(str(run.overlay)) is not None


def test_caveats_count_the_networks_of_every_fold(run: RunDirectory, reader: ShardReader, world: World) -> None:
    several = replace(run, recipe=replace(run.recipe, epochs=(3,), keep="best", best_checkpoints=3))
    finish_run(run, world, reader, workers=1)
    rule = read_rule(run.thresholds)
    (found,) = run_metrics._rule_caveats(several, rule, None)
    assert "of means of a fold's 3 networks, while a submission is the mean of all 6" in found


def test_the_masks_by_expected_score_are_those_of_the_metrics(
    run: RunDirectory, reader: ShardReader, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever kind is better: both are to work."""
    monkeypatch.setattr(rule_choice._Rules, "better", lambda *_: "expected score")
    monkeypatch.setattr(rule_choice, "fit", fit_eagerly)
    finish_run(run, world, reader, workers=1)
    found = metrics.read(run.metrics)
    rule = read_rule(run.thresholds)
    assert rule.expected_score is not None
    assert found.in_sample.rule == rule.in_probabilities()
    assert any(run_lengths != "-1" for run_lengths in submission.read(run.masks).values())
    assert found.oof_csv_dice == pytest.approx(found.nested.dice, abs=1e-12)
    assert found.submission_rule is not None
    enough, few, none = (
        run_metrics._rule_caveats(run, rule, moved)
        for moved in (
            replace(found.submission_rule, enough_positive=True),
            replace(found.submission_rule, enough_positive=False),
            None,
        )
    )
    assert [text for text in enough if "whose rule was found on 6 test images" in text]
    assert [text for text in few if "the rule that was chosen for one" in text and "5 positive test images" in text]
    assert [text for text in none if "the rule that was chosen for one" in text and "--test-dicom" in text]


def test_the_rule_for_new_images_is_that_of_the_mean(
    run: RunDirectory,
    reader: ShardReader,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(run_metrics, "choose", choose_half)
    monkeypatch.setattr(rule_transfer, "MIN_POSITIVE", 1)
    with caplog.at_level("INFO"):
        finish_run(run, world, reader, workers=1)
    found = metrics.read(run.metrics)
    final = choose_half(PredictionHistograms.read(run.histograms)).final
    mean = build_mean([run], reader=reader, world=world, workers=1)
    moved = find_submission_rule(final, mean, reader.table.select("test"))
    assert moved is not None
    assert found.submission_rule == moved
    assert found.in_sample.rule == final.in_probabilities() != moved.rule
    assert read_rule(run.thresholds).in_probabilities() == moved.rule
    (caveat,) = found.caveats
    assert "whose rule was found on 6 test images without their masks" in caveat
    assert metrics.describe_move(moved) in caplog.text
    assert f"rule for new images: {read_rule(run.thresholds).describe()}" in caplog.text
    # The scores of single networks are still by their own rule.
    assert apply_recorded(PredictionHistograms.read(run.histograms), found).dice.mean() == found.nested.dice
    before = run.thresholds.read_bytes()
    run.thresholds.unlink()
    finish_run(run, world, reader, workers=1)
    assert run.thresholds.read_bytes() == before


def test_a_run_that_was_stopped_between_masks_and_metrics_is_finished(
    run: RunDirectory,
    reader: ShardReader,
    world: World,
    synthetic: SyntheticTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its metrics are those of a dataset on which neither masks nor a rule of the mean could be found."""
    monkeypatch.setattr(run_metrics, "choose", choose_half)
    monkeypatch.setattr(rule_transfer, "MIN_POSITIVE", 1)
    build(BuildInputs(dicom=synthetic.test_dicom), tmp_path / "new", BuildOptions(num_folds=2, workers=1))
    other = ShardReader(tmp_path / "new", SampleTable.read(tmp_path / "new"))
    finish_run(run, world, other, workers=1)
    assert metrics.read(run.metrics).submission_rule is None
    monkeypatch.setattr(metrics, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        finish_run(run, world, reader, workers=1)
    monkeypatch.undo()
    monkeypatch.setattr(run_metrics, "choose", choose_half)
    monkeypatch.setattr(rule_transfer, "MIN_POSITIVE", 1)
    assert run.masks.is_file()
    assert not is_finished(run, Manifest.read(reader.dataset))
    finish_run(run, world, reader, workers=1)
    found = metrics.read(run.metrics)
    assert found.submission_rule is not None
    assert read_rule(run.thresholds).in_probabilities() == found.submission_rule.rule


def choose_many_components(histograms: PredictionHistograms) -> NestedEstimate:
    """Choose a rule for each fold under which every image has a mask of a fifth of its pixels, in some components."""
    share = np.sort(histograms.predicted / histograms.pixels[:, None], axis=0)[0]
    top = max(int((share > 0).sum()) - 1, 1)
    pixels = histograms.predicted.sum(axis=0) / histograms.pixels.sum()
    bottom = max(min(int((pixels > 0.2).sum()), top), 1)
    rules = DecisionRule(top, 0.0, bottom), DecisionRule(top, 0.0, max(bottom - 1, 1))
    return score_subsets(histograms, histograms.fold.astype(np.int64), rules, rules[0])


def test_the_metrics_are_of_masks_without_small_components(
    dataset: Path, reader: ShardReader, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_metrics, "choose", choose_many_components)
    limit, masks = 9_000.0, {}
    for name, kept in (("all", 0.0), ("large", limit)):
        run = finish_folds(tmp_path / name, dataset, world, replace(tiny_recipe(), min_component=kept))
        finish_run(run, world, reader, workers=1)
        found = metrics.read(run.metrics)
        assert found.min_component == kept
        assert found.oof_csv_dice == pytest.approx(found.nested.dice, abs=1e-12)
        assert not [caveat for caveat in found.caveats if "components" in caveat]
        masks[name] = submission.read(run.masks)
    rows = {str(reader.table.image_id[row]): row for row in reader.table.select("train").tolist()}
    assert masks["all"].keys() == masks["large"].keys() == rows.keys()
    for image_id, row in rows.items():
        shape = reader.table.shape(row)
        labels, _ = ndimage.label(rle.decode(masks["all"][image_id], *shape), np.ones((3, 3)))
        areas = np.bincount(labels.ravel()) * 1024**2 / labels.size
        expected = (areas >= limit)[labels] & (labels > 0)
        assert np.array_equal(rle.decode(masks["large"][image_id], *shape), expected)
    assert masks["all"] != masks["large"]
    assert "-1" not in masks["all"].values()


def test_a_fold_that_was_scored_before_components_were_removed_is_told(
    run: RunDirectory, reader: ShardReader, world: World
) -> None:
    removing = replace(run, recipe=replace(run.recipe, min_component=101.0))
    finish_run(removing, world, reader, workers=1)
    found = metrics.read(run.metrics)
    assert (found.min_component, found.oof_csv_dice) == (0, pytest.approx(found.nested.dice, abs=1e-12))
    assert found.caveats[-1] == (
        "masks lose their components below 101 px (of 1024x1024), while the metrics are of masks"
        " that keep all of theirs"
    )


def test_weights_that_are_not_their_folds_are_refused(run: RunDirectory, reader: ShardReader, world: World) -> None:
    run.fold(0).model.write_bytes(run.fold(1).model.read_bytes())
    with pytest.raises(UserError, match=r"fold-0/model\.safetensors: SHA-256 .*, but training wrote"):
        finish_run(run, world, reader, workers=1)
    assert not written(run)


def test_a_finished_run_is_left_alone(run: RunDirectory, reader: ShardReader, world: World) -> None:
    finish_run(run, world, reader, workers=1)
    before = {p: p.stat().st_mtime_ns for p in run.path.iterdir()}
    finish_run(run, world, reader, workers=1)
    assert {p: p.stat().st_mtime_ns for p in run.path.iterdir()} == before


def test_a_missing_rule_is_written_again_from_the_metrics(
    run: RunDirectory, reader: ShardReader, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    finish_run(run, world, reader, workers=1)
    before = {p: p.read_bytes() for p in run.path.iterdir() if p.is_file()}
    run.thresholds.unlink()
    assert not is_finished(run, Manifest.read(reader.dataset))
    with caplog.at_level("INFO"):
        finish_run(run, world, reader, workers=1)
    assert {p: p.read_bytes() for p in run.path.iterdir() if p.is_file()} == before
    assert f"wrote {run.thresholds} again, from {run.metrics}" in caplog.messages


def test_another_dataset_leaves_the_masks_for_later(
    run: RunDirectory, reader: ShardReader, world: World, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    build(BuildInputs(dicom=synthetic.test_dicom), tmp_path / "new", BuildOptions(num_folds=2, workers=1))
    other = ShardReader(tmp_path / "new", SampleTable.read(tmp_path / "new"))
    finish_run(run, world, other, workers=1)
    assert written(run) == FILES - {"oof.csv", "overlay.png"}
    assert is_finished(run, Manifest.read(other.dataset))
    assert not is_finished(run, Manifest.read(reader.dataset))
    assert metrics.read(run.metrics).oof_csv_dice is None
    finish_run(run, world, reader, workers=1)
    assert written(run) == FILES
    assert is_finished(run, Manifest.read(reader.dataset))
    assert metrics.read(run.metrics).oof_csv_dice is not None


def test_excluded_images_are_neither_predicted_nor_scored(
    dataset: Path, reader: ShardReader, world: World, tmp_path: Path
) -> None:
    """As after training one fold at a time with --skip-damaged: the reader of the ensemble has every image."""
    train = reader.table.select("train")
    excluded = {str(reader.table.image_id[row]): "its CRC differs" for row in train[[1, 20]].tolist()}
    run = finish_folds(tmp_path / "run", dataset, world, excluded=excluded)
    finish_run(run, world, reader, workers=1)
    found = metrics.read(run.metrics)
    assert (found.images, found.excluded) == (len(train) - 2, 2)
    assert found.oof_csv_dice == pytest.approx(found.nested.dice, abs=1e-12)
    assert not excluded.keys() & set(submission.read(run.masks))
    assert len(submission.read(run.masks)) == len(train) - 2


def test_missing_folds_are_named(run: RunDirectory, reader: ShardReader, world: World) -> None:
    run.fold(1).summary.unlink()
    with pytest.raises(UserError, match="has no finished fold 1; expected all 2 folds; train them with the same"):
        finish_run(run, world, reader, workers=1)
    assert not written(run)


def test_metrics_of_another_version_are_refused(run: RunDirectory, reader: ShardReader, world: World) -> None:
    run.metrics.write_text(json.dumps({"format_version": 1, "gain": 0.1}))
    run.masks.touch()
    with pytest.raises(UserError, match=r"metrics\.json has format version 1; expected format version 3"):
        finish_run(run, world, reader, workers=1)


def test_a_second_prediction_that_differs_is_a_warning(
    run: RunDirectory,
    reader: ShardReader,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def find_every_image_positive(histograms: PredictionHistograms) -> NestedEstimate:
        top = int(histograms.max_bin.min())
        rule = DecisionRule(top, 0.0, top)
        return NestedEstimate(
            rule_index=histograms.fold.astype(np.int64),
            rules=(rule, rule),
            final=rule,
            dice=score_images(histograms, rule),
            predicted_positive=predict_presence(histograms, rule),
        )

    monkeypatch.setattr(run_metrics, "choose", find_every_image_positive)
    # The two folds' networks change places: every mask is another network's.
    monkeypatch.setattr(out_of_fold_masks, "trained_weights", lambda run: trained_weights(run)[::-1])
    finish_run(run, world, reader, workers=1)
    found = metrics.read(run.metrics)
    difference = abs(found.oof_csv_dice - found.nested.dice)
    warnings = [m for m in caplog.messages if "the second prediction differs" in m]
    assert difference > 1e-9, "otherwise the test shows nothing"
    assert len(warnings) == 1


@pytest.mark.parametrize(("device", "warnings"), [("cpu", 1), ("cuda", 0)])
def test_rounding_on_a_gpu_is_no_warning(
    device: str,
    warnings: int,
    run: RunDirectory,
    reader: ShardReader,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write, publish = out_of_fold_masks.write_masks, run_metrics._publish
    monkeypatch.setattr(out_of_fold_masks, "write_masks", lambda *arguments: write(*arguments) + 1e-3)

    def publish_on(*arguments: object, **_: object) -> None:
        publish(*arguments, device=torch.device(device))  # type: ignore[arg-type]

    monkeypatch.setattr(run_metrics, "_publish", publish_on)
    finish_run(run, world, reader, workers=1)
    assert caplog.text.count("the second prediction differs") == warnings


@pytest.mark.parametrize(
    ("recipe", "patients", "texts"),
    [
        (debug(), 9, []),
        (debug(), 10, ["folds may leak"]),
        (replace(debug(), keep="best"), 9, ["chosen on its own images"]),
        (replace(debug(), patience=3), 10, ["folds may leak", "chosen on its own images"]),
    ],
)
def test_the_report_names_what_makes_metrics_optimistic(
    tmp_path: Path, recipe: Recipe, patients: int, texts: list[str]
) -> None:
    run = run_start.create(tmp_path / "run", recipe, replace(DATASET, patients=patients))
    found = caveats(run, images=10, positives=3)
    assert len(found) == len(texts)
    assert all(text in caveat for text, caveat in zip(texts, found, strict=True))


def test_a_score_without_a_positive_image_is_no_success(tmp_path: Path) -> None:
    run = run_start.create(tmp_path / "run", debug(), DATASET)
    assert caveats(run, images=10, positives=0)[0].startswith("none of 10 images has a pneumothorax: nothing was")


def test_unlabeled_images_that_are_excluded_do_not_hide_a_leak(tmp_path: Path) -> None:
    unlabeled = {"1.2.3": "the jpg member is damaged"}
    run = run_start.create(tmp_path / "run", debug(), replace(DATASET, patients=10, excluded_unlabeled=unlabeled))
    (caveat,) = caveats(run, images=10, positives=3)
    assert "no two images are known to be of one patient: folds may leak" in caveat
    assert run_directory.load(tmp_path / "run") == run


def test_excluded_images_are_named_and_not_counted_as_patients(tmp_path: Path) -> None:
    excluded = {f"1.2.{n}": "the jpg member is damaged" for n in range(4)}
    run = run_start.create(tmp_path / "run", debug(), replace(DATASET, patients=9, excluded=excluded))
    (caveat,) = caveats(run, images=6, positives=3)
    assert "excluded, neither trained on nor scored: 4 damaged training images;" in caveat
    assert run_directory.load(tmp_path / "run") == run
