"""Binary cross-entropy of the pixels against its closed form."""

import torch
from loss_batches import inputs

from pneumo.modeling.losses.bce import bce_loss


def test_it_is_the_mean_of_minus_log_p_over_the_image() -> None:
    batch = inputs()
    p = torch.sigmoid(batch.logits.double())
    expected = -torch.where(batch.mask > 0, p, 1 - p).log().mean(dim=(1, 2, 3))
    torch.testing.assert_close(bce_loss(batch).double(), expected, rtol=1e-5, atol=1e-6)


def test_its_gradient_is_the_error_of_each_pixel_over_the_number_of_pixels() -> None:
    batch = inputs()
    bce_loss(batch).sum().backward()
    expected = (torch.sigmoid(batch.logits) - batch.mask) / 32**2
    torch.testing.assert_close(batch.logits.grad, expected.detach(), rtol=1e-5, atol=1e-8)
