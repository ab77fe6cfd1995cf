"""Binary cross-entropy of the pixels against its closed form."""

import numpy as np
import pytest
import torch
from loss_batches import inputs
from scipy.ndimage import uniform_filter

from pneumo.modeling.losses.bce import bce_loss


def test_it_is_the_mean_of_minus_log_p_over_the_image() -> None:
    batch = inputs()
    p = torch.sigmoid(batch.logits.double())
    expected = -torch.where(batch.mask > 0, p, 1 - p).log().mean(dim=(1, 2, 3))
    torch.testing.assert_close(bce_loss(batch, bce_border=0).double(), expected, rtol=1e-5, atol=1e-6)


def test_its_gradient_is_the_error_of_each_pixel_over_the_number_of_pixels() -> None:
    batch = inputs()
    bce_loss(batch, bce_border=0).sum().backward()
    expected = (torch.sigmoid(batch.logits) - batch.mask) / 32**2
    torch.testing.assert_close(batch.logits.grad, expected.detach(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("border", [1, 3, 40])
def test_labels_near_a_border_are_the_fraction_of_the_mask_around_the_pixel(border: int) -> None:
    batch = inputs()
    masks = batch.mask.double().numpy()[:, 0]
    size = (0, 2 * border + 1, 2 * border + 1)
    label = uniform_filter(masks, size, mode="constant") / uniform_filter(np.ones_like(masks), size, mode="constant")
    p = torch.sigmoid(batch.logits.detach().double()).numpy()[:, 0]
    expected = -(label * np.log(p) + (1 - label) * np.log(1 - p)).mean(axis=(1, 2))
    np.testing.assert_allclose(bce_loss(batch, bce_border=border).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_far_from_a_border_labels_are_certain() -> None:
    batch = inputs()
    batch.mask[:] = 0
    assert torch.equal(bce_loss(batch, bce_border=5), bce_loss(batch, bce_border=0))
