"""What at least one rank asks for, agreed on without waiting for the slowest rank."""

import torch
import torch.distributed as dist

from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group, wait_for_ranks


class Vote:
    """Flags that the ranks exchange after each step and act on one step later, all at the same step.

    The exchange of a step runs while the next one is computed, so that a rank waits here only for one that is more than
    a step behind. With one rank nothing is exchanged, and its flags count at once. Collective, in the same order with
    the group's other collectives on all ranks.

    Args:
        group: The ranks.
        size: Number of flags.
    """

    def __init__(self, group: Group, size: int) -> None:
        self._group, self._size = group, size
        self._flags = torch.zeros(size)
        self._work: dist.Work | None = None

    def cast(self, *flags: bool) -> list[bool]:
        """Start to exchange flags; return those of the call before, each true when it was on at least one rank."""
        assert len(flags) == self._size
        if self._group.control_group is None:
            return list(flags)
        agreed = self.settle()
        self._flags = torch.tensor(flags, dtype=torch.float32)
        with heartbeat.waiting():
            self._work = dist.all_reduce(
                self._flags, op=dist.ReduceOp.MAX, group=self._group.control_group, async_op=True
            )
        return agreed

    def settle(self) -> list[bool]:
        """Return the flags of the last call, waiting for its exchange; all are false once they were returned."""
        if self._work is None:
            return [False] * self._size
        with heartbeat.waiting():
            wait_for_ranks(self._work)
        self._work = None
        return [bool(flag) for flag in self._flags]
