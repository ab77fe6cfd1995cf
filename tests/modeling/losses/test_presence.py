"""Binary cross-entropy of the presence head, and a network without one."""

import pytest
import torch
import torch.nn.functional as F
from loss_batches import batch, inputs

from pneumo.modeling.losses.loss import loss
from pneumo.modeling.losses.presence import presence_loss
from pneumo.modeling.losses.registry import LossConfig
from pneumo.modeling.segmenter import SegmenterOutput
from pneumo.runtime.errors import UserError


def test_a_high_logit_means_that_there_is_a_pneumothorax() -> None:
    half = inputs()
    assert half.presence_logit is not None
    sign = torch.where(half.mask.flatten(1).any(dim=1), -1.0, 1.0)
    torch.testing.assert_close(presence_loss(half), F.softplus(sign * half.presence_logit), rtol=1e-5, atol=1e-6)


def test_the_head_takes_part_in_the_backward_pass_without_a_weight() -> None:
    output, mask = batch()
    loss(output, mask, LossConfig(presence=0.0)).total.sum().backward()
    assert output.presence_logit is not None
    assert output.presence_logit.grad is not None
    assert not output.presence_logit.grad.any()


def test_a_weight_without_the_head_is_refused() -> None:
    output, mask = batch()
    with pytest.raises(UserError, match=r"--loss\.presence 0\.5 without a presence head; .* --model\.presence-head"):
        loss(SegmenterOutput(output.logits, None), mask, LossConfig(presence=0.5))


def test_without_the_head_and_a_weight_the_term_is_zero() -> None:
    output, mask = batch()
    assert not loss(SegmenterOutput(output.logits, None), mask, LossConfig()).terms["presence"].any()
