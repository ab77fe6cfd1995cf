"""Statistics of batch normalization that do not depend on how many ranks share a step, and those of averaged weights.

In a plain loop each rank updates the running statistics with its own micro-batches, one after another. Here every
micro-batch of a step starts from the same statistics, and the step ends with the mean of the results over all
micro-batches of all ranks. So one rank with four micro-batches and four ranks with one each agree within rounding.
A step that is skipped leaves the statistics as they were: those of a forward pass that overflowed are not finite.

Averaged weights need statistics of their own. The running ones belong to the weights of the last steps, and averaging
them as well makes them older still; so they are estimated from the training images before the averaged weights are used
(torch's ``swa_utils.update_bn`` is the same on one rank, and also turns dropout on).
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pneumo.distributed.collectives import Group
from pneumo.modeling.frozen_batch_norm import is_frozen

ESTIMATION_MICRO_BATCHES = 64
"""Micro-batches from which the statistics of averaged weights are estimated, or all of an epoch's."""


class StepStatistics:
    """Averages the running statistics over the micro-batches of an optimizer step.

    Args:
        model: The network without its DDP wrapper.
        group: The ranks that share the step.
        micro_batches: Number of micro-batches in a step, over all ranks.
    """

    def __init__(self, model: nn.Module, group: Group, micro_batches: int) -> None:
        self.group, self.micro_batches = group, micro_batches
        self.buffers: list[torch.Tensor] = []
        self.counters: list[torch.Tensor] = []
        for module in _layers(model):
            assert module.running_mean is not None
            assert module.running_var is not None
            assert module.num_batches_tracked is not None
            self.buffers += [module.running_mean, module.running_var]
            self.counters.append(module.num_batches_tracked)
        # Kept for all steps, and filled by one operation over the list: a network has a hundred of them.
        self._start = [b.clone() for b in self.buffers]
        self._sum = [torch.zeros_like(b) for b in self.buffers]
        self._count = 0

    def begin_step(self) -> None:
        """Keep a copy of the statistics with which the step starts."""
        if self.buffers:
            torch._foreach_copy_(self._start, self.buffers)
            torch._foreach_zero_(self._sum)
        self._count = 0

    def end_pass(self, micro_batches: int = 1) -> None:
        """Add the statistics after a forward pass to the step's sum, and reset them to those of the step's start.

        Args:
            micro_batches: How many the pass had; the statistics are their mean (``modeling.ghost_batch_norm``).
        """
        if self.buffers:
            torch._foreach_add_(self._sum, self.buffers, alpha=micro_batches)
            torch._foreach_copy_(self.buffers, self._start)
            self._count += 1

    def discard_pass(self) -> None:
        """Reset the statistics after a forward pass to those of the step's start, as if there had been none."""
        if self.buffers:
            torch._foreach_copy_(self.buffers, self._start)
            torch._foreach_sub_(self.counters, 1)

    def end_step(self) -> None:
        """Set the statistics to their mean over all micro-batches of all ranks. Collective."""
        if not self.buffers:
            return
        flat = self.group.all_reduce_sum_(torch.cat(self._sum)).div_(self.micro_batches)
        torch._foreach_copy_(self.buffers, list(torch.split(flat, [b.numel() for b in self.buffers])))
        # They count micro-batches, and each rank has counted only its own passes.
        torch._foreach_add_(self.counters, self.micro_batches - self._count)

    def undo_step(self) -> None:
        """Set the statistics back to those of the step's start; call it after ``end_step``."""
        if self.buffers:
            torch._foreach_copy_(self.buffers, self._start)
            torch._foreach_sub_(self.counters, self.micro_batches)


@torch.no_grad()
def estimate_statistics(
    model: nn.Module,
    images: Iterable[torch.Tensor],
    micro_batches: int,
    group: Group,
    autocast: Callable[[], AbstractContextManager[None]],
) -> None:
    """Set the running statistics of a model in evaluation mode to the means over micro-batches. Collective.

    Args:
        model: The network without its DDP wrapper.
        images: This rank's micro-batches, each (N, 1, H, W) in [0, 1].
        micro_batches: Their number over all ranks.
        group: The ranks that share them.
        autocast: Makes the context manager of the precision to compute in.
    """
    layers = _layers(model)
    momenta = [layer.momentum for layer in layers]
    if not layers:
        return
    for layer in layers:
        # In training mode alone a layer computes statistics; a momentum of 1 keeps nothing of those before.
        layer.train().momentum = 1.0
    statistics = StepStatistics(model, group, micro_batches)
    statistics.begin_step()
    for image in images:
        with autocast():
            model(image)
        statistics.end_pass()
    statistics.end_step()
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.eval().momentum = momentum


def _layers(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers whose running statistics change."""
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    return [layer for layer in layers if not is_frozen(layer)]
