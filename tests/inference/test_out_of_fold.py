"""Histograms and masks against predictions made one image at a time, whatever the number of ranks."""

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from plain_predictions import predict_one

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.collectives import Group
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import BINS
from pneumo.inference.out_of_fold import encode_masks, predict_histograms
from pneumo.inference.prediction import count_pixels
from pneumo.inference.predictor import Predictor
from pneumo.loading.contract import Loader
from pneumo.masks import rle

CPU = torch.device("cpu")
SINGLE_RANK = Group(rank=0, size=1, device=CPU)


@dataclass(frozen=True, kw_only=True)
class OneOfSeveral(Group):
    """A rank whose gather returns what the others, run before, left behind."""

    shared: list[Any]

    def gather(self, value: Any) -> list[Any]:
        self.shared.append(value)
        return self.shared if self.is_leader else []


def same(left: Any, right: Any) -> bool:
    return all(np.array_equal(getattr(left, n), getattr(right, n)) for n in vars(left) if not n.startswith("_"))


def test_histograms_are_those_of_each_image_alone(reader: ShardReader, loader: Loader, predictor: Predictor) -> None:
    table = reader.table
    rows = table.select("train", {1})
    observed: list[int] = []
    found = predict_histograms(predictor, loader, reader, rows, SINGLE_RANK, lambda batch: observed.extend(batch.rows))
    assert found is not None
    assert observed == rows.tolist()
    assert found.image_id.tolist() == table.image_id[rows].tolist()
    assert set(found.fold.tolist()) == {1}
    assert found.positive.any()
    assert not found.positive.all()
    for i, row in enumerate(rows.tolist()):
        pixels, presence = predict_one(reader, loader, row)
        truth = rle.decode(reader.rle(row), *pixels.shape).astype(bool)
        bins = np.minimum(np.floor(pixels.astype(np.float64) * BINS), BINS - 1).astype(int)
        assert found.inside[i].tolist() == np.bincount(bins[truth], minlength=BINS).tolist()
        assert found.outside[i].tolist() == np.bincount(bins[~truth], minlength=BINS).tolist()
        assert found.presence_probability[i] == pytest.approx(presence, abs=1e-6)
        assert found.pixels[i] == truth.size
        assert found.positive[i] == truth.any()
        assert found.patient[i] == table.patient[row]


def test_no_array_of_a_batch_is_kept_while_others_are_predicted(
    reader: ShardReader, loader: Loader, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would lie between larger ones that are freed, whose memory would then not be used again."""
    counts: list[weakref.ref[Any]] = []

    def counted(*arguments: Any) -> Iterator[Any]:
        for batch in count_pixels(*arguments):
            counts.append(weakref.ref(batch.counts))
            yield batch
            del batch
            assert counts[-2:-1] == [] or counts[-2]() is None

    monkeypatch.setattr("pneumo.inference.out_of_fold.count_pixels", counted)
    assert predict_histograms(predictor, loader, reader, reader.table.select("train"), SINGLE_RANK) is not None
    assert len(counts) > 2


@pytest.mark.parametrize(("size", "limit"), [(2, 0.0), (3, 0.0), (3, 5_000.0)])
def test_ranks_together_give_what_one_gives(
    reader: ShardReader, loader: Loader, predictor: Predictor, size: int, limit: float
) -> None:
    rows = reader.table.select("train")
    whole = predict_histograms(predictor, loader, reader, rows, SINGLE_RANK, min_component=limit)
    assert whole is not None
    rules = {int(row): DecisionRule(140, 0.0, 100) for row in rows[3::2]}
    options: dict[str, Any] = {"rules": rules, "min_component": limit}
    masks = encode_masks(predictor, loader, reader, rows, group=SINGLE_RANK, **options)
    histograms_parts: list[Any] = []
    mask_parts: list[Any] = []
    # The leader last, when the others have sent their parts.
    for rank in reversed(range(size)):
        group = OneOfSeveral(rank=rank, size=size, device=CPU, shared=histograms_parts)
        histograms = predict_histograms(predictor, loader, reader, rows, group, min_component=limit)
        own = replace(group, shared=mask_parts)
        together = encode_masks(predictor, loader, reader, rows, group=own, **options)
        assert (histograms is None) == (rank > 0)
    assert histograms is not None
    assert same(histograms, whole)
    assert together == masks
    assert len(mask_parts) == size
    removed = int((whole.predicted - whole.masked)[:, 100].sum())
    assert (removed > 0) == (limit > 0)
    areas = {str(whole.image_id[i]): int(whole.masked[i, 100]) for i in range(len(whole)) if whole.max_bin[i] >= 140}
    written = {image_id: int(rle.parse(mask)[:, 1].sum()) for image_id, mask in masks.items() if mask != rle.EMPTY}
    assert written.items() <= areas.items()
    assert written


def test_masks_are_those_of_the_rule_on_each_image_alone(
    reader: ShardReader, loader: Loader, predictor: Predictor
) -> None:
    rows = reader.table.select("train")
    rules = {int(rows[2]): DecisionRule(140, 0.0, 100), int(rows[9]): DecisionRule(200, 0.0, 30)}
    found = encode_masks(predictor, loader, reader, rows, rules=rules, group=SINGLE_RANK)
    assert found.keys() == {str(reader.table.image_id[row]) for row in rules}
    for row, rule in rules.items():
        pixels, _ = predict_one(reader, loader, row)
        assert pixels.max() >= rule.top_bin / BINS
        expected = (pixels >= np.float32(rule.bottom_bin / BINS)).astype(np.uint8)
        assert found[str(reader.table.image_id[row])] == rle.encode(expected)


def test_no_image_is_predicted_again_without_a_rule(reader: ShardReader, predictor: Predictor) -> None:
    def loader(plans: Any) -> Any:
        assert list(plans) == [], "loaded"
        return iter(())

    assert encode_masks(predictor, loader, reader, reader.table.select("train"), rules={}, group=SINGLE_RANK) == {}
