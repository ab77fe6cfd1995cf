"""Histograms and masks against predictions made one image at a time, whatever the number of ranks."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.collectives import Group
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import BINS
from pneumo.inference.out_of_fold import (
    BATCH_SIZE,
    encode_masks,
    plan_batches,
    predict_histograms,
    split_batches,
    validation_metrics,
)
from pneumo.inference.predictor import Predictor, to_source
from pneumo.loading.build import build_loader
from pneumo.loading.contract import BatchPlan, Loader
from pneumo.masks import rle
from pneumo.modeling.segmenter import SegmenterOutput

CPU = torch.device("cpu")
ALONE = Group(rank=0, size=1, device=CPU)
SIZE = 64


class Bright(nn.Module):
    """Predicts pneumothorax where the image is bright, and its presence by the mean brightness."""

    def forward(self, image: torch.Tensor) -> SegmenterOutput:
        return SegmenterOutput(image * 8 - 4, image.mean((1, 2, 3)) * 4 - 1)


@dataclass(frozen=True, kw_only=True)
class OneOfSeveral(Group):
    """A rank whose gather returns what the others, run before, left behind."""

    shared: list[Any]

    def gather(self, value: Any) -> list[Any]:
        self.shared.append(value)
        return self.shared if self.is_leader else []


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture(scope="module")
def loader(reader: ShardReader) -> Loader:
    return build_loader("opencv", reader, reader.table, CPU, workers=1)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(Bright(), size=SIZE, tta=(), autocast=nullcontext, channels_last=False)


def probability(reader: ShardReader, loader: Loader, row: int) -> tuple[np.ndarray, float]:
    """Predict one image in the plainest way."""
    plan = BatchPlan(rows=np.array([row]), positions=np.array([0]), epoch=0, size=SIZE, seed=0, augmentation=None)
    (batch,) = loader([plan])
    output = Bright()(batch.image)
    pixels = torch.sigmoid(output.logits)[0, 0]
    source = to_source(pixels, int(reader.table.rows[row]), int(reader.table.columns[row]))
    return source.numpy(), float(torch.sigmoid(output.presence_logit)[0])


def same(left: Any, right: Any) -> bool:
    return all(np.array_equal(getattr(left, n), getattr(right, n)) for n in vars(left) if not n.startswith("_"))


def test_every_batch_but_the_last_is_full() -> None:
    rows = np.arange(5, 5 + 2 * BATCH_SIZE + 3)
    split = split_batches(rows)
    assert [len(batch) for batch in split] == [BATCH_SIZE, BATCH_SIZE, 3]
    assert np.concatenate(split).tolist() == rows.tolist()
    assert split_batches(rows[:0]) == []
    plans = list(plan_batches(split, 32))
    assert [plan.rows.tolist() for plan in plans] == [batch.tolist() for batch in split]
    assert all(plan.augmentation is None and plan.size == 32 for plan in plans)


def test_histograms_are_those_of_each_image_alone(reader: ShardReader, loader: Loader, predictor: Predictor) -> None:
    table = reader.table
    rows = table.select("train", {1})
    found = predict_histograms(predictor, loader, reader, rows, ALONE)
    assert found is not None
    assert found.image_id.tolist() == table.image_id[rows].tolist()
    assert set(found.fold.tolist()) == {1}
    assert found.positive.any()
    assert not found.positive.all()
    for i, row in enumerate(rows.tolist()):
        pixels, presence = probability(reader, loader, row)
        truth = rle.decode(reader.rle(row), *pixels.shape).astype(bool)
        bins = np.minimum(np.floor(pixels.astype(np.float64) * BINS), BINS - 1).astype(int)
        assert found.inside[i].tolist() == np.bincount(bins[truth], minlength=BINS).tolist()
        assert found.outside[i].tolist() == np.bincount(bins[~truth], minlength=BINS).tolist()
        assert found.presence_probability[i] == pytest.approx(presence, abs=1e-6)
        assert found.pixels[i] == truth.size
        assert found.positive[i] == truth.any()
        assert found.patient[i] == table.patient[row]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_together_give_what_one_gives(
    reader: ShardReader, loader: Loader, predictor: Predictor, size: int
) -> None:
    rows = reader.table.select("train")
    whole = predict_histograms(predictor, loader, reader, rows, ALONE)
    rules = {int(row): DecisionRule(140, 0.0, 100) for row in rows[3::2]}
    masks = encode_masks(predictor, loader, reader, rows, rules=rules, group=ALONE)
    histograms_parts: list[Any] = []
    mask_parts: list[Any] = []
    # The leader last, when the others have sent their parts.
    for rank in reversed(range(size)):
        group = OneOfSeveral(rank=rank, size=size, device=CPU, shared=histograms_parts)
        histograms = predict_histograms(predictor, loader, reader, rows, group)
        together = encode_masks(predictor, loader, reader, rows, rules=rules, group=replace(group, shared=mask_parts))
        assert (histograms is None) == (rank > 0)
    assert histograms is not None
    assert same(histograms, whole)
    assert together == masks
    assert len(mask_parts) == size


def test_masks_are_those_of_the_rule_on_each_image_alone(
    reader: ShardReader, loader: Loader, predictor: Predictor
) -> None:
    rows = reader.table.select("train")
    rules = {int(rows[2]): DecisionRule(140, 0.0, 100), int(rows[9]): DecisionRule(200, 0.0, 30)}
    found = encode_masks(predictor, loader, reader, rows, rules=rules, group=ALONE)
    assert found.keys() == {str(reader.table.image_id[row]) for row in rules}
    for row, rule in rules.items():
        pixels, _ = probability(reader, loader, row)
        assert pixels.max() >= rule.top_bin / BINS
        expected = (pixels >= np.float32(rule.bottom_bin / BINS)).astype(np.uint8)
        assert found[str(reader.table.image_id[row])] == rle.encode(expected)


def test_no_image_is_predicted_again_without_a_rule(reader: ShardReader, predictor: Predictor) -> None:
    def loader(plans: Any) -> Any:
        assert list(plans) == [], "loaded"
        return iter(())

    assert encode_masks(predictor, loader, reader, reader.table.select("train"), rules={}, group=ALONE) == {}


def test_validation_metrics_are_the_best_rules_dice_and_the_auc(maps, maps_without_presence) -> None:
    found = validation_metrics(maps.histograms)
    positive = maps.histograms.positive
    assert found["dice_all_empty"] == (~positive).mean()
    assert found["dice_all_empty"] <= found["dice_best_rule"] <= 1
    pairs = maps.presence_probability[positive][:, None] - maps.presence_probability[~positive][None]
    assert found["auc"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    maximum = np.array([p.max() for p in maps_without_presence.probability])
    maximum = np.minimum(np.floor(maximum * BINS), BINS - 1)
    positive = maps_without_presence.histograms.positive
    pairs = maximum[positive][:, None] - maximum[~positive][None]
    found = validation_metrics(maps_without_presence.histograms)
    assert found["auc"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_auc_is_left_out_where_it_is_undefined(maps) -> None:
    found = validation_metrics(maps.histograms.select(maps.histograms.positive))
    assert found.keys() == {"dice_best_rule", "dice_all_empty"}
