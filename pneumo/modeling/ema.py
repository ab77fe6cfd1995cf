"""An exponential moving average of the weights, which validation and inference use."""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """A float32 copy of a model whose parameters are the moving average of the model's.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the initial weights are soon forgotten
    (the warm-up of TensorFlow's ExponentialMovingAverage). Buffers are copied: batch-norm statistics are those of
    the model itself, until ``batch_norm.estimate_statistics`` computes those of the averaged weights.

    torch's AveragedModel gives the same bits only with the rule above as its averaging function and its counter
    started at 1; it reads that counter from the device at every step, and cannot average a bf16 model in float32.
    timm's ModelEmaV3 gives them only with its warm-up replaced, and timm 0.9, which is supported, does not have it.

    Args:
        model: The model to average, not wrapped for distribution or compilation.
        decay: The largest fraction of the old average that an update keeps, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        assert 0 <= decay < 1
        self.decay, self.updates = decay, 0
        # The averaged model, in evaluation mode.
        self.model = copy.deepcopy(model).float().eval().requires_grad_(False)
        self._parameters: list[Tensor] = list(self.model.parameters())
        self._buffers = _by_type(self.model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average the weights of ``model`` in; call it after each step of the optimizer."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = [parameter.to(torch.float32) for parameter in model.parameters()]
        torch._foreach_lerp_(self._parameters, current, 1 - decay)
        theirs = _by_type(model)
        for kind, mine in self._buffers.items():
            torch._foreach_copy_(mine, theirs[kind])
        self.updates += 1

    def restore(self, weights: dict[str, Tensor], updates: int) -> None:
        """Restore a saved average: the state dict of ``model``, and the number of updates."""
        self.model.load_state_dict(weights)
        self.updates = int(updates)


def _by_type(model: nn.Module) -> dict[bool, list[Tensor]]:
    """Return the buffers of floating point and the others: a list of one type is copied by few kernels on a GPU."""
    lists: dict[bool, list[Tensor]] = {}
    for buffer in model.buffers():
        lists.setdefault(buffer.is_floating_point(), []).append(buffer)
    return lists
