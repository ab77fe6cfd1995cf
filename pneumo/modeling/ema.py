"""An exponential moving average of the weights, which is what gets evaluated and published."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pneumo.runtime.errors import UserError


class Ema:
    """A float32 copy of a model that follows it slowly.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the random start is soon forgotten
    (the warm-up of TensorFlow's ExponentialMovingAverage). Buffers, such as batch-norm statistics, are
    averages already and are copied.

    Args:
        model: The model to follow, not wrapped for distribution or compilation.
        decay: The largest share of the old average that an update keeps, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"ema decay {decay}", "a number in [0, 1)", "use 0.999, or 0 to switch it off")
        self.decay, self.updates = decay, 0
        self._model = copy.deepcopy(model).float().eval().requires_grad_(False)
        self._parameters: list[Tensor] = list(self._model.parameters())
        self._buffers = list(self._model.buffers())

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards ``model``; call it after each step of the optimiser."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = [parameter.to(torch.float32) for parameter in model.parameters()]
        torch._foreach_lerp_(self._parameters, current, 1 - decay)
        for mine, theirs in zip(self._buffers, model.buffers(), strict=True):
            mine.copy_(theirs)
        self.updates += 1

    def module(self) -> nn.Module:
        """Return the averaged model, in evaluation mode."""
        return self._model

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of updates; the tensors are the live ones."""
        return {"updates": self.updates, "model": self._model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave."""
        model: dict[str, Tensor] = state["model"]
        self._model.load_state_dict(model)
        self.updates = int(state["updates"])
