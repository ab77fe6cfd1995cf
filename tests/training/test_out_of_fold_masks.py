"""Each labeled image's mask is that of its own fold's network under its own rule."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from finished_runs import finish_folds
from plain_histograms import apply_rule, quantize

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.inference.build import build
from pneumo.inference.decision_rule import DecisionRule, predict_presence, score_images
from pneumo.inference.histograms import PredictionHistograms, concatenate
from pneumo.inference.nested import NestedEstimate
from pneumo.inference.prediction import predict, split_batches
from pneumo.masks import rle, submission
from pneumo.runtime.errors import UserError
from pneumo.training import run_directory
from pneumo.training.out_of_fold_masks import predict_masks, write_masks
from pneumo.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture(scope="module")
def run(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return finish_folds(tmp_path_factory.mktemp("run") / "run", dataset, world)


@pytest.fixture(scope="module")
def histograms(run: RunDirectory) -> PredictionHistograms:
    return concatenate([PredictionHistograms.read(run.fold(k).histograms) for k in (0, 1)])


@pytest.fixture(scope="module")
def nested(histograms: PredictionHistograms) -> NestedEstimate:
    """Two rules under which some images of each fold are positive, and some are not."""
    rules = []
    for fold in (0, 1):
        of_fold = histograms.select(histograms.fold == fold)
        top = int(np.median(of_fold.max_bin))
        assert 1 < top < 255
        rules.append(DecisionRule(top, 0.0, max(top - 20 * (fold + 1), 1)))
    index = histograms.fold.astype(np.int64)
    dice, positive = np.zeros(len(histograms)), np.zeros(len(histograms), bool)
    for k, rule in enumerate(rules):
        dice[index == k] = score_images(histograms, rule)[index == k]
        positive[index == k] = predict_presence(histograms, rule)[index == k]
    return NestedEstimate(rule_index=index, rules=tuple(rules), final=rules[0], dice=dice, predicted_positive=positive)


def test_masks_are_those_of_each_folds_network_and_rule(
    run: RunDirectory, reader: ShardReader, world: World, histograms: PredictionHistograms, nested: NestedEstimate
) -> None:
    masks = predict_masks(run, world, reader, histograms, nested, workers=1)
    assert list(masks) == histograms.image_id.tolist()
    positives = 0
    for fold in (0, 1):
        loader, predictor = build(run.recipe.inference, reader, world.device, workers=1)
        predictor.network.load_state_dict(safetensors.torch.load_file(run.fold(fold).model))
        batches = split_batches(reader.table.select("train", {fold}))
        for batch in predict(predictor, loader, reader, batches):
            for i, row in enumerate(batch.rows):
                bins = quantize(batch.probability(i).numpy())
                expected = apply_rule(bins, nested.rules[fold], float(batch.presence[i]))
                assert masks[str(reader.table.image_id[row])] == rle.encode(expected)
                positives += bool(expected.any())
    assert 0 < positives < len(masks)


def test_the_files_dice_is_that_of_the_histograms(
    run: RunDirectory,
    reader: ShardReader,
    world: World,
    histograms: PredictionHistograms,
    nested: NestedEstimate,
    tmp_path: Path,
) -> None:
    own = run_directory.load(shutil.copytree(run.path, tmp_path / "run"))
    masks = predict_masks(own, world, reader, histograms, nested, workers=1)
    assert write_masks(own, reader, histograms, masks) == pytest.approx(nested.dice.mean(), abs=1e-12)
    assert submission.read(own.masks) == masks


def test_histograms_of_other_images_are_refused(
    run: RunDirectory, reader: ShardReader, world: World, histograms: PredictionHistograms, nested: NestedEstimate
) -> None:
    excluded = reader.exclude([str(histograms.image_id[0])])
    with pytest.raises(UserError, match=r"fold-0/oof\.parquet describes other images than fold 0 of .* has"):
        predict_masks(run, world, excluded, histograms, nested, workers=1)
