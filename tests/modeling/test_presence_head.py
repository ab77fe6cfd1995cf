"""The presence head: what it sees, how it begins, and what its loss changes."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from tiny_models import image, make

from pneumo.modeling.losses.loss import loss
from pneumo.modeling.losses.registry import LossConfig
from pneumo.modeling.presence_head import SHARPNESS, PresenceHead, log_mean_exp


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
def test_a_pool_is_the_log_of_the_mean_exponential(sharpness: float) -> None:
    logits = torch.randn(3, 1, 5, 7, generator=torch.Generator().manual_seed(0)) * 10
    flat = logits.double().numpy().reshape(3, 35)
    expected = logsumexp(flat * sharpness, axis=1, b=1 / 35) / sharpness
    np.testing.assert_allclose(log_mean_exp(logits, sharpness).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_pool_lies_between_the_mean_and_the_maximum_and_of_equal_pixels_is_their_value() -> None:
    logits = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 5
    faint, sharp = (log_mean_exp(logits, each) for each in (1e-3, 1e3))
    torch.testing.assert_close(faint, logits.mean(dim=(1, 2, 3)), atol=0.02, rtol=0)
    torch.testing.assert_close(sharp, logits.amax(dim=(1, 2, 3)), atol=0.02, rtol=0)
    torch.testing.assert_close(log_mean_exp(torch.full((1, 1, 16, 16), -90.0), 4.0), torch.tensor([-90.0]))


def test_a_new_head_orders_images_by_their_pixels() -> None:
    """With deepest features that are all the same, as those of an encoder that has learned nothing yet."""
    head = PresenceHead(4)
    logits = torch.full((3, 1, 8, 8), -8.0)
    logits[1, 0, 2, 2:4] = 2.0
    logits[2, 0, 2:5, 2:5] = 2.0
    found = head(torch.ones(3, 4, 1, 1), logits)
    assert found[0] < found[1] < found[2]
    expected = torch.stack([log_mean_exp(logits, each) for each in SHARPNESS]).mean(dim=0)
    torch.testing.assert_close(found - found[0], expected - expected[0])


def test_the_head_adds_the_mean_of_the_deepest_features() -> None:
    head = PresenceHead(2)
    with torch.no_grad():
        head.of_features.weight.copy_(torch.tensor([[3.0, -1.0]]))
        head.of_features.bias.fill_(0.5)
    features = torch.tensor([[[[1.0, 3.0]], [[4.0, 6.0]]]])
    found = head(features, torch.full((1, 1, 4, 4), -2.0))
    torch.testing.assert_close(found, torch.tensor([3.0 * 2 - 5 + 0.5 - 2.0]))


def test_its_loss_reaches_the_encoder_and_not_the_mask() -> None:
    model = make(presence_head=True).train()
    output = model(image(2))
    parts = loss(output, torch.ones(2, 1, 64, 64), LossConfig(presence=1.0))
    parts.terms["presence"].sum().backward()
    moved = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum()}
    assert moved == {"encoder", "of_features", "of_pools"}


def test_the_mask_is_that_of_the_network_with_the_librarys_head() -> None:
    ours, theirs = (make(presence_head=True, presence_input=each).eval() for each in ("both", "encoder"))
    theirs.net.load_state_dict(ours.net.state_dict(), strict=False)
    with torch.inference_mode():
        assert torch.equal(ours(image()).logits, theirs(image()).logits)
    assert theirs.presence_head is None
    assert any(name.startswith("net.classification_head.") for name in theirs.state_dict())
    assert not any(name.startswith("net.classification_head.") for name in ours.state_dict())


def test_the_head_is_not_rounded_by_autocast() -> None:
    head = PresenceHead(8)
    generator = torch.Generator().manual_seed(2)
    features, logits = (torch.randn(shape, generator=generator) for shape in ((2, 8, 2, 2), (2, 1, 16, 16)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(features, logits)
    assert found.dtype == torch.float32
    assert torch.equal(found, head(features, logits))
