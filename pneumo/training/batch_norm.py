"""Running statistics of batch normalisation that do not depend on how many ranks share a step.

In a plain loop the running statistics see a step's micro-batches one after another, and each rank sees only its own.
Here every micro-batch of a step starts from the same statistics, and their mean over all micro-batches of all ranks
is what the step leaves behind. So one rank with four micro-batches and four ranks with one agree within rounding.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pneumo.distributed.collectives import Group


class StepStatistics:
    """Collects the running statistics of one optimiser step.

    Args:
        model: The network without its DDP wrapper.
        group: The ranks that share the step.
        micro_batches: Micro-batches of a step over all ranks.
    """

    def __init__(self, model: nn.Module, group: Group, micro_batches: int) -> None:
        self.group, self.micro_batches = group, micro_batches
        self.buffers: list[torch.Tensor] = []
        self.counters: list[torch.Tensor] = []
        if micro_batches > 1:
            for module in model.modules():
                if isinstance(module, _BatchNorm) and module.running_mean is not None:
                    assert module.running_var is not None
                    assert module.num_batches_tracked is not None
                    self.buffers += [module.running_mean, module.running_var]
                    self.counters.append(module.num_batches_tracked)
        self._start: list[torch.Tensor] = []
        self._sum: list[torch.Tensor] = []
        self._seen = 0

    def begin_step(self) -> None:
        """Remember where the step starts."""
        self._start = [b.clone() for b in self.buffers]
        self._sum = [torch.zeros_like(b) for b in self.buffers]
        self._seen = 0

    def end_micro_batch(self) -> None:
        """Take up what a forward pass left in the buffers, and put them back to the step's start."""
        if self.buffers:
            torch._foreach_add_(self._sum, self.buffers)
            torch._foreach_copy_(self.buffers, self._start)
            self._seen += 1

    def end_step(self) -> None:
        """Leave the mean over all micro-batches of all ranks in the buffers."""
        if not self.buffers:
            return
        flat = self.group.all_reduce_sum_(torch.cat(self._sum)).div_(self.micro_batches)
        torch._foreach_copy_(self.buffers, list(torch.split(flat, [b.numel() for b in self.buffers])))
        # Counts of micro-batches, of which this rank has added its own.
        torch._foreach_add_(self.counters, self.micro_batches - self._seen)
