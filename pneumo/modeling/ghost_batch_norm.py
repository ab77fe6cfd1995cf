"""Batch normalization by groups of images, so that a forward pass may have more images than it averages over.

"Ghost" batch normalization (Hoffer et al., Train longer, generalize better, 2017): each group of a batch is normalized
by its own mean and variance, as if it had a forward pass of its own. Convolutions then see the whole batch, which fills
a large GPU, and the result is that of one pass for each group, within rounding.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pneumo.modeling.frozen_batch_norm import is_frozen

PROBE_SIZE = 64
"""Height and width of the images that find random numbers, in pixels."""


class GhostBatchNorm2d(nn.BatchNorm2d):
    """A ``BatchNorm2d`` that normalizes each ``group_size`` images of a batch by their own statistics in training.

    The running statistics move once in a forward pass, towards the mean of the groups' statistics.
    """

    group_size: int

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, H, W), N being a multiple of ``group_size`` or less than it."""
        if not self.training or len(input) <= self.group_size:
            return super().forward(input)
        assert len(input) % self.group_size == 0
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        # With a momentum of 1, a group's running statistics are its own.
        mean, variance = self.running_mean.new_zeros((2, len(input) // self.group_size, self.num_features))
        normalized = [
            F.batch_norm(group, mean[i], variance[i], self.weight, self.bias, True, 1.0, self.eps)
            for i, group in enumerate(torch.split(input, self.group_size))
        ]
        with torch.no_grad():
            self.running_mean.lerp_(mean.mean(dim=0), self.momentum)
            self.running_var.lerp_(variance.mean(dim=0), self.momentum)
            self.num_batches_tracked.add_(1)
        return torch.cat(normalized)


def normalize_by_groups(model: nn.Module, group_size: int) -> None:
    """Make the batch-normalization layers of a model ``GhostBatchNorm2d``, which keep their parameters and buffers."""
    for layer in _layers(model):
        assert type(layer) is nn.BatchNorm2d, "to be asked before: why_one_group"
        layer.__class__ = GhostBatchNorm2d
        layer.group_size = group_size  # type: ignore[assignment]


def why_one_group(model: nn.Module) -> str:
    """Return why the groups of a batch need a forward pass each, "" when they do not.

    Args:
        model: A network on the CPU, in training mode.
    """
    other = {
        type(m).__name__
        for m in _layers(model)
        if type(m) is not nn.BatchNorm2d or not m.track_running_stats or m.momentum is None
    }
    if other:
        return f"its normalization layers are {', '.join(sorted(other))}"
    # Drawn for a whole batch, they would be others than for its groups.
    return "it draws random numbers (dropout)" if _draws_random_numbers(model) else ""


def _draws_random_numbers(model: nn.Module) -> bool:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        copy.deepcopy(model)(torch.rand(2, 1, PROBE_SIZE, PROBE_SIZE, generator=torch.Generator()))
        return not torch.equal(torch.get_rng_state(), before)


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and not is_frozen(m)]
