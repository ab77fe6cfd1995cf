"""Minus the logarithm of a micro-batch's Dice against its closed form, and however a step is divided."""

import pytest
import torch
from loss_batches import batch, inputs

from pneumo.modeling.losses.inputs import LossInputs
from pneumo.modeling.losses.log_dice import log_dice_loss
from pneumo.modeling.losses.loss import loss
from pneumo.modeling.losses.registry import LossConfig
from pneumo.modeling.segmenter import SegmenterOutput

MIXED = LossConfig(bce=0.0, dice=0.0, focal=10.0, log_dice=1.0)


def mixed_loss(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return 10 focal - log(Dice) of a whole batch as the notebooks define it, with gamma 2 and a smoothing of 1."""
    p, g = torch.sigmoid(logits.double()).flatten(), mask.double().flatten()
    p_of_label = torch.where(g > 0, p, 1 - p)
    focal = -((1 - p_of_label) ** 2 * p_of_label.log()).mean()
    dice = (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
    return 10 * focal - dice.log()


def test_a_step_of_several_micro_batches_has_the_mean_of_their_mixed_losses() -> None:
    output, mask = batch(8)
    expected = torch.stack([mixed_loss(output.logits[i : i + 4], mask[i : i + 4]) for i in (0, 4)]).mean()
    found = loss(SegmenterOutput(output.logits, None), mask, MIXED, 4).total
    assert found.shape == (8,)
    torch.testing.assert_close(found.double().mean(), expected, rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(expected, output.logits, retain_graph=True)
    found.sum().div(8).backward()
    torch.testing.assert_close(output.logits.grad, gradient, rtol=1e-4, atol=1e-9)


def test_micro_batches_in_one_pass_have_the_losses_that_each_has_alone() -> None:
    output, mask = batch(6)
    parts = [
        loss(SegmenterOutput(output.logits[i : i + 2], None), mask[i : i + 2], MIXED, 2).total for i in range(0, 6, 2)
    ]
    together = loss(SegmenterOutput(output.logits, None), mask, MIXED, 2).total
    torch.testing.assert_close(torch.cat(parts), together, rtol=1e-6, atol=0)


@pytest.mark.parametrize("level", [-80.0, -8.0, 0.0, 8.0, 80.0])
def test_empty_masks_cost_the_logarithm_of_what_is_predicted(level: float) -> None:
    empty = LossInputs(logits=torch.full((2, 1, 64, 64), level), mask=torch.zeros(2, 1, 64, 64), micro_batch_size=2)
    size = 2 * 64**2 * torch.sigmoid(torch.tensor(level, dtype=torch.float64))
    torch.testing.assert_close(log_dice_loss(empty).double(), (size + 1).log().expand(2), rtol=1e-5, atol=1e-12)


def test_a_perfect_prediction_costs_nothing() -> None:
    batch = inputs()
    perfect = LossInputs(logits=200 * (2 * batch.mask - 1), mask=batch.mask, micro_batch_size=4)
    assert log_dice_loss(perfect).tolist() == [0.0] * 4
