"""Random outputs and masks that the tests of several terms share."""

import torch

from pneumo.modeling.losses.inputs import LossInputs
from pneumo.modeling.segmenter import SegmenterOutput


def batch(
    count: int = 4, size: int = 32, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[SegmenterOutput, torch.Tensor]:
    """Return outputs with gradients, and masks of which every second one is empty."""
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(count, 1, size, size, generator=generator) * 3).to(dtype).requires_grad_()
    presence = torch.randn(count, generator=generator).to(dtype).requires_grad_()
    mask = (torch.rand(count, 1, size, size, generator=generator) > 0.95).float()
    mask[1::2] = 0
    return SegmenterOutput(logits, presence), mask


def inputs(count: int = 4, size: int = 32, seed: int = 0) -> LossInputs:
    """Return the same as the inputs of a term."""
    output, mask = batch(count, size, seed)
    return LossInputs(logits=output.logits, mask=mask, presence_logit=output.presence_logit)
