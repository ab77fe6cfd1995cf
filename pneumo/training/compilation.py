"""torch.compile, and what to do where it cannot work."""

import torch
from torch import nn

from pneumo.runtime.errors import UserError, first_line


def compile_network(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network, compiled at its first forward pass and again for each other size of images.

    Static shapes: with those that torch chooses after a second size of images, the code is slower for all sizes.

    Raises:
        UserError: When nothing can be compiled for the device.
    """
    _check_compiler(device)
    compiled: nn.Module = torch.compile(network, dynamic=False)  # type: ignore[assignment]
    return compiled


def _check_compiler(device: torch.device) -> None:
    """Compile one addition, so that a compiler that is missing is not found only after the data is loaded."""
    try:
        torch.compile(_add_one, dynamic=False)(torch.zeros(8, device=device))
    except Exception as error:
        # Of many kinds: no C compiler, no Triton, a directory that cannot be written to.
        raise UserError(
            f"--compile, and nothing can be compiled for {device.type} here ({first_line(error)})",
            "a C++ compiler, and Triton for a GPU",
            "install gcc and g++ or set CC and CXX to others, or leave out --compile",
        ) from error


def _add_one(tensor: torch.Tensor) -> torch.Tensor:
    return tensor + 1
