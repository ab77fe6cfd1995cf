"""Parameters that a network has and never uses, for which DistributedDataParallel would wait."""

import copy

import torch
from torch import nn

PROBE_SIZE = 64
"""Height and width of the image that finds them, in pixels."""


def freeze_unused_parameters(model: nn.Module) -> list[str]:
    """Stop the gradient of parameters that no output depends on, and return their names.

    scSE in a decoder block without a skip connection, and last layers of some encoders, are built but never
    called. DistributedDataParallel would wait for their gradients forever; with ``requires_grad`` off it
    does not, and needs no search for unused parameters at each step. They are found by one backward pass of
    a copy in evaluation mode, which draws no random numbers and changes no statistics.
    """
    probe = copy.deepcopy(model).eval()
    with torch.enable_grad():
        output = probe(torch.linspace(0, 1, PROBE_SIZE**2).view(1, 1, PROBE_SIZE, PROBE_SIZE))
        torch.stack([part.sum() for part in output if part is not None]).sum().backward()  # type: ignore[no-untyped-call]
    unused = [name for name, parameter in probe.named_parameters() if parameter.grad is None]
    for name in unused:
        model.get_parameter(name).requires_grad_(False)
    return unused
