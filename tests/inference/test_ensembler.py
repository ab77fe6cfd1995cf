"""The ensemble against the plain mean of its runs, whatever the blocks and the ranks."""

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ensembles import average_by_hand
from plain_histograms import apply_rule, quantize
from scipy import ndimage

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.dicom import image_codec
from pneumo.distributed.world import World
from pneumo.inference import ensembler as ensembler_module
from pneumo.inference import network_mean
from pneumo.inference import prediction as prediction_module
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.ensembler import Ensembler, PredictedImage
from pneumo.inference.histograms import BINS
from pneumo.inference.network_mean import EnsembledRun, NetworkMean
from pneumo.masks import rle
from pneumo.modeling.segmenter import Segmenter

RULE = DecisionRule(top_bin=120, min_area=1.0, bottom_bin=100, presence_threshold=0.0)


@pytest.fixture
def rows(reader: ShardReader, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Rows of both splits, in five batches."""
    monkeypatch.setattr(prediction_module, "BATCH_SIZE", 2)
    return np.arange(0, len(reader.table), 4)


def make(runs: Sequence[EnsembledRun], reader: ShardReader, world: World, **options: float) -> Ensembler:
    return Ensembler(NetworkMean(runs, reader=reader, world=world, workers=1), RULE, **options)


def test_the_mean_is_taken_over_folds_runs_and_views(
    networks: list[list[Segmenter]], runs: list[EnsembledRun], reader: ShardReader, world: World
) -> None:
    rows = reader.table.select("test")
    predictions = make(runs, reader, world).run(rows)
    assert [f.image_id for f in predictions] == reader.table.image_id[rows].tolist()
    for prediction, row in zip(predictions, rows.tolist(), strict=True):
        total, presence = average_by_hand(networks, runs, reader, world, row)
        mask = apply_rule(quantize(total), RULE, presence)
        mine = rle.decode(prediction.rle, *mask.shape)
        # Sums in another order may move a pixel across a threshold.
        assert np.mean(mask != mine) < 1e-3
        assert prediction.presence_probability == pytest.approx(presence, abs=1e-5)
        assert prediction.mask_area == mine.sum()
    assert any(f.mask_area for f in predictions), "the rule finds something, so that the comparison means something"


def test_blocks_and_ranks_do_not_change_a_prediction(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensembler = make(runs, reader, world)
    whole = ensembler.run(rows)
    monkeypatch.setattr(network_mean, "BLOCK", 1)
    for ranks in (2, 3):
        parts: list[Any] = []
        monkeypatch.setattr(World, "gather", lambda _, part, parts=parts: parts.append(part) or parts)
        # The leader last, when the others have sent their parts.
        for rank in reversed(range(ranks)):
            ensembler.mean.world = replace(world, rank=rank, size=ranks)
            predictions = ensembler.run(rows)
        assert predictions == whole
        assert min(map(len, parts)) > 0
        assert sum(map(len, parts)) == len(rows)


def test_every_image_is_given_with_its_pixels(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_mean, "BLOCK", 1)
    images: list[PredictedImage] = []
    predictions = make(runs, reader, world).run(rows, images.append)
    assert [image.prediction for image in images] == predictions
    assert [image.row for image in images] == rows.tolist()
    for image in images:
        shape = reader.table.shape(image.row)
        assert image.probability.shape == image.mask.shape == image.source.shape == shape
        assert image.prediction.max_pixel_probability == int(image.probability.max() * BINS) / BINS
        assert rle.encode(image.mask) == image.prediction.rle
        expected = apply_rule(quantize(image.probability), RULE, image.prediction.presence_probability)
        assert np.array_equal(image.mask, expected)
        decoded = image_codec.to_float(image_codec.decode(reader.image(image.row)))
        assert np.array_equal(image.source, decoded)


def test_source_is_decoded_only_when_it_is_asked_for(
    runs: list[EnsembledRun], reader: ShardReader, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    images: list[PredictedImage] = []
    make(runs, reader, world).run(reader.table.select("test"), images.append)
    monkeypatch.setattr(ensembler_module, "read_image", lambda *_: pytest.fail("decoded"))
    with pytest.raises(pytest.fail.Exception, match="decoded"):
        _ = images[0].source


def test_one_image_at_a_time_has_its_pixels_at_the_size_of_the_source(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows
) -> None:
    alive: list[weakref.ref[PredictedImage]] = []
    most = 0

    def count(image: PredictedImage) -> None:
        nonlocal most
        alive.append(weakref.ref(image))
        most = max(most, sum(reference() is not None for reference in alive))

    make(runs, reader, world).run(rows, count)
    assert len(alive) == len(rows) > most
    assert most == 1


@pytest.mark.parametrize("quantile", [0.0, 0.5, 1.0])
def test_small_components_are_removed_from_mask_and_numbers(
    runs: list[EnsembledRun], reader: ShardReader, world: World, quantile: float
) -> None:
    """Against SciPy's components, at limits that none, some and all but the largest are below."""
    mean, rows = NetworkMean(runs, reader=reader, world=world, workers=1), reader.table.select("test")
    bins: list[np.ndarray] = []
    Ensembler(mean, RULE).run(rows, lambda image: bins.append(quantize(image.probability)))
    threshold = int(np.quantile(np.concatenate(bins, axis=None), 0.8))
    rule = DecisionRule(threshold, 0.0, threshold, 0.0)
    masks = [(each >= threshold).astype(np.uint8) for each in bins]
    labeled = [ndimage.label(mask, np.ones((3, 3))) for mask in masks]
    areas = [
        np.bincount(labels.ravel())[1:] / mask.size * 1024**2 for (labels, _), mask in zip(labeled, masks, strict=True)
    ]
    limit = float(np.quantile(np.concatenate(areas), quantile))
    predictions = Ensembler(mean, rule, min_component=limit).run(rows)
    removed = 0
    for prediction, mask, (labels, _), area in zip(predictions, masks, labeled, areas, strict=True):
        kept = np.concatenate([[False], area >= limit - 1e-6])[labels]
        removed += int(mask.sum() - kept.sum())
        assert np.array_equal(rle.decode(prediction.rle, *mask.shape), kept)
        assert prediction.mask_area == kept.sum()
    assert (removed > 0) == (quantile > 0)
    assert len(np.concatenate(areas)) > 4
