"""Soft Dice loss against its closed form, on empty masks and at several image sizes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from loss_batches import inputs

from pneumo.modeling.losses.dice import SMOOTHING, dice_loss
from pneumo.modeling.losses.inputs import LossInputs


def dice(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return dice_loss(LossInputs(logits=logits, mask=mask), dice_on="all", dice_over="image")


def test_it_is_one_minus_the_smoothed_overlap() -> None:
    batch = inputs()
    p, g, dims = torch.sigmoid(batch.logits.double()), batch.mask.double(), (1, 2, 3)
    s = SMOOTHING * 32**2
    expected = 1 - (2 * (p * g).sum(dims) + s) / (p.sum(dims) + g.sum(dims) + s)
    torch.testing.assert_close(
        dice_loss(batch, dice_on="all", dice_over="image").double(), expected, rtol=1e-5, atol=1e-6
    )


def test_values_on_empty_and_missed_masks() -> None:
    size = 256
    s = SMOOTHING * size * size
    empty = torch.zeros(1, 1, size, size)
    missed = empty.clone()
    missed[..., 0, : int(s)] = 1
    predicts_nothing = torch.full_like(empty, -50.0)
    assert dice(predicts_nothing, empty).item() == pytest.approx(0, abs=1e-6)
    assert dice(predicts_nothing, missed).item() == pytest.approx(0.5)
    assert dice(-predicts_nothing, empty).item() == pytest.approx(1, abs=1e-3)
    assert dice(50 * (2 * missed - 1), missed).item() == pytest.approx(0, abs=1e-6)


def test_it_is_the_same_at_every_image_size() -> None:
    batch = inputs(2)
    logits, mask = (F.interpolate(x, scale_factor=2, mode="nearest") for x in (batch.logits, batch.mask))
    torch.testing.assert_close(dice(logits, mask), dice_loss(batch, dice_on="all", dice_over="image"))


def test_on_positive_images_alone_empty_masks_have_no_loss() -> None:
    batch = inputs()
    positive, every = (
        dice_loss(batch, dice_on="positive", dice_over="image"),
        dice_loss(batch, dice_on="all", dice_over="image"),
    )
    assert torch.equal(positive > 0, batch.mask.flatten(1).any(dim=1))
    assert torch.equal(positive[::2], every[::2])
    assert (every > 0).all()


def test_over_a_micro_batch_its_images_are_one() -> None:
    batch = replace(inputs(6), micro_batch_size=3)
    found = dice_loss(batch, dice_on="all", dice_over="micro-batch")
    assert found.shape == (6,)
    for first in (0, 3):
        part = slice(first, first + 3)
        p, g = torch.sigmoid(batch.logits[part].double()).flatten(), batch.mask[part].double().flatten()
        s = SMOOTHING * 32**2
        expected = 1 - (2 * (p * g).sum() + s) / (p.sum() + g.sum() + s)
        torch.testing.assert_close(found[part].double(), expected.expand(3), rtol=1e-5, atol=1e-6)
    alone = replace(batch, micro_batch_size=1)
    assert torch.equal(
        dice_loss(alone, dice_on="all", dice_over="micro-batch"), dice_loss(alone, dice_on="all", dice_over="image")
    )


def test_on_positive_images_a_micro_batch_has_a_loss_when_any_of_its_masks_is_not_empty() -> None:
    batch = replace(inputs(6), micro_batch_size=2)
    batch.mask[2:4] = 0
    every = dice_loss(batch, dice_on="all", dice_over="micro-batch")
    positive = dice_loss(batch, dice_on="positive", dice_over="micro-batch")
    assert (every > 0).all()
    assert torch.equal(positive, every * torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 1.0]))
