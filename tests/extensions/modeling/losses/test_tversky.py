"""Tversky loss against its values for a right, a missed and a false mask, and on empty masks."""

import pytest
import torch
from loss_batches import inputs

from pneumo.modeling.losses.dice import SMOOTHING
from pneumo.modeling.losses.inputs import LossInputs
from pneumo.modeling.losses.loss import loss
from pneumo.modeling.losses.registry import LossConfig
from pneumo.modeling.losses.tversky import tversky_loss
from pneumo.modeling.segmenter import SegmenterOutput


def test_missed_pixels_cost_more_than_false_ones() -> None:
    half = torch.zeros(1, 1, 64, 64)
    half[..., :32] = 1
    area, s = 32 * 64, SMOOTHING * 64 * 64
    right, missed, false = (
        tversky_loss(LossInputs(logits=80 * predicted - 40, mask=mask)).item()
        for predicted, mask in ((half, half), (0 * half, half), (half, 0 * half))
    )
    assert (right, missed) == pytest.approx((0, 0.7 * area / (0.7 * area + s)), abs=1e-6)
    assert false == pytest.approx(0.3 * area / (0.3 * area + s))


def test_it_is_a_term_of_the_loss_with_a_gradient_for_every_image() -> None:
    batch = inputs()
    config = LossConfig(bce=0.0, dice=0.0, tversky=2.0)
    losses = loss(SegmenterOutput(batch.logits, None), batch.mask, config)
    assert torch.equal(losses.total, 2 * tversky_loss(batch))
    losses.total.sum().backward()
    assert (batch.logits.grad.abs().sum((1, 2, 3)) > 0).all()
