"""An exponential moving average of the weights, which validation and inference use."""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """A float32 copy of a model whose parameters and batch-norm statistics are the moving averages of the model's.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the initial weights are soon forgotten
    (the warm-up of TensorFlow's ExponentialMovingAverage). The statistics are averaged with the weights, as in timm's
    ModelEmaV3: the model's own follow its last steps alone, and belong to weights that the average is far from while
    it still moves. Buffers of whole numbers, such as counters, are copied.

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
        self._averaged, self._copied = _tensors(self.model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average the weights and statistics of ``model`` in; call it after each step of the optimizer."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged, copied = _tensors(model)
        torch._foreach_lerp_(self._averaged, [tensor.to(torch.float32) for tensor in averaged], 1 - decay)
        if copied:
            torch._foreach_copy_(self._copied, copied)
        self.updates += 1

    def restore(self, weights: dict[str, Tensor], updates: int) -> None:
        """Restore a saved average: the state dict of ``model``, and the number of updates."""
        self.model.load_state_dict(weights)
        self.updates = int(updates)


def _tensors(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the tensors of a model that are averaged, and those that are copied."""
    tensors = [*model.parameters(), *model.buffers()]
    return [t for t in tensors if t.is_floating_point()], [t for t in tensors if not t.is_floating_point()]
