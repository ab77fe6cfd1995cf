"""Masks by their run lengths, and those that are not made at all."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_histograms import apply_rule, quantize

from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.encoding import encode_batches
from pneumo.inference.prediction import PredictedBatch, count_pixels
from pneumo.inference.predictor import to_source
from pneumo.masks import rle
from pneumo.runtime.errors import UserError

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SHAPES = ((32, 32), (57, 31), (20, 64), (9, 13))
RULES = (DecisionRule(200, 100_000.0, 120, 0.3), DecisionRule(255, 0.0, 1), DecisionRule(128, 0.0, 128, 0.5))


def draw(device: str, seed: int) -> PredictedBatch:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(4, 32, 32, generator=generator)
    # On the edges of the bins where the source has the size of the network's input.
    maps = torch.where(maps < 0.7, (maps * 256).floor() / 256, maps)
    presence = torch.rand(4, generator=generator)
    return PredictedBatch(
        rows=tuple(range(seed, seed + 4)),
        shapes=SHAPES,
        maps=(maps.to(device),),
        presence=presence.to(device),
        finite=torch.ones((), dtype=torch.bool, device=device),
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", RULES)
def test_masks_are_those_of_the_rule_on_each_image(device: str, rule: DecisionRule) -> None:
    batches = [draw(device, seed) for seed in (0, 10, 20)]
    where = torch.device(device)
    found = list(encode_batches(count_pixels(batches, where), lambda row: None if row == 11 else rule, where))
    assert [mask.row for mask in found] == [row for batch in batches for row in batch.rows if row != 11]
    masks = {mask.row: mask for mask in found}
    positives = 0
    for batch in batches:
        for i, row in enumerate(batch.rows):
            if row != 11:
                bins = quantize(to_source(batch.maps[0][i], *SHAPES[i]).cpu().numpy())
                expected = apply_rule(bins, rule, float(batch.presence[i]))
                assert masks[row].rle == rle.encode(expected)
                assert masks[row].area == expected.sum()
                positives += bool(expected.any())
    assert positives > 0


def test_an_image_that_the_rule_calls_empty_has_no_mask_made(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = list(count_pixels([draw("cpu", 0)], CPU))
    monkeypatch.setattr(PredictedBatch, "bins", lambda *_: pytest.fail("made a mask"))
    found = encode_batches(counted, lambda _: DecisionRule(1, 2.0**21, 1), CPU)
    assert [(mask.rle, mask.area) for mask in found] == [(rle.EMPTY, 0)] * 4


def test_nothing_is_believed_that_is_not_finite() -> None:
    batches = [draw("cpu", 0), replace(draw("cpu", 10), finite=torch.tensor(False)), draw("cpu", 20)]
    counted = count_pixels(batches, CPU)
    assert next(counted).batch.rows == (0, 1, 2, 3)
    with pytest.raises(UserError, match="not finite"):
        next(counted)


def test_what_makes_the_batches_is_not_in_inference_mode() -> None:
    """A loader may keep tensors that training changes afterwards, which those of inference mode refuse."""
    kept: list[torch.Tensor] = []

    def batches() -> Iterator[PredictedBatch]:
        for seed in (0, 10):
            kept.append(torch.zeros(3))
            yield draw("cpu", seed)

    list(encode_batches(count_pixels(batches(), CPU), lambda _: RULES[1], CPU))
    assert [tensor.is_inference() for tensor in kept] == [False, False]


def test_a_true_mask_is_asked_for_by_row() -> None:
    truth = np.zeros((32, 32), bool)
    truth[3:9, 20:31] = True
    runs = rle.parse(rle.encode(truth))
    (counted,) = count_pixels([draw("cpu", 0)], CPU, lambda row: runs if row == 0 else None)
    assert counted.counts[:, 1].sum(axis=1).tolist() == [truth.sum(), 0, 0, 0]
    assert counted.counts.sum(axis=(1, 2)).tolist() == [rows * columns for rows, columns in SHAPES]
