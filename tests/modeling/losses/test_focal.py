"""Focal loss of the pixels against its closed form."""

import pytest
import torch
from loss_batches import inputs

from pneumo.modeling.losses.bce import bce_loss
from pneumo.modeling.losses.focal import focal_loss
from pneumo.modeling.losses.inputs import LossInputs


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0, 16.0])
def test_it_is_the_cross_entropy_weighted_by_the_error(gamma: float) -> None:
    batch = inputs()
    p = torch.sigmoid(batch.logits.double())
    p = torch.where(batch.mask > 0, p, 1 - p)
    expected = -((1 - p) ** gamma * p.log()).mean(dim=(1, 2, 3))
    torch.testing.assert_close(focal_loss(batch, focal_gamma=gamma).double(), expected, rtol=1e-5, atol=1e-6)


def test_at_probability_one_half_it_is_the_cross_entropy_over_two_to_gamma() -> None:
    undecided = LossInputs(logits=torch.zeros(1, 1, 32, 32), mask=torch.ones(1, 1, 32, 32))
    torch.testing.assert_close(focal_loss(undecided, focal_gamma=3.0), bce_loss(undecided, bce_border=0) / 2**3)
