"""Groups of ranks, and the collectives between them.

Gradients and other tensors on the device go through the device's backend (NCCL or gloo); flags, strings and histograms
through gloo, with a timeout that lets one fold group wait for another.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from pneumo.distributed import heartbeat
from pneumo.runtime.errors import StartAgain, StopRequested, UserError

T = TypeVar("T")

CONTROL_TIMEOUT = timedelta(days=7)
"""Longest wait of one fold group for another: a fold can take days. The watchdog ends the wait for a lost rank."""
MIN_POLL_INTERVAL_S, MAX_POLL_INTERVAL_S = 1e-4, 1e-2
"""Seconds between two looks whether all ranks have come; they double from the first to the last."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Ranks that work together; with one rank every collective is a no-op."""

    rank: int
    """This process's rank in the group, from 0."""
    size: int
    """Number of ranks in the group."""
    device: torch.device
    """The device this rank computes on."""
    tensor_group: dist.ProcessGroup | None = None
    """Process group for tensors on ``device``; None when the group is one rank."""
    first_rank: int = 0
    """Global rank of this group's rank 0; the group's global ranks are consecutive."""
    control_group: dist.ProcessGroup | None = None
    """gloo process group for flags and Python objects; None when the group is one rank."""

    @property
    def ranks(self) -> range:
        """The group's global ranks."""
        return range(self.first_rank, self.first_rank + self.size)

    @property
    def is_leader(self) -> bool:
        """True on the rank that writes the group's files."""
        return self.rank == 0

    def all_reduce_sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor on ``device`` over the ranks, in place; on a GPU once its queue gets there."""
        if self.tensor_group is not None:
            with heartbeat.waiting():
                dist.all_reduce(tensor, group=self.tensor_group)
        return tensor

    def waiting_for_device(self) -> AbstractContextManager[None]:
        """Mark what the host does meanwhile as a wait for other ranks, in a group of several that compute on GPUs.

        There, a collective only queues its work; the host waits later, wherever it needs a result or the queue is full.
        """
        return heartbeat.waiting() if self.size > 1 and self.device.type != "cpu" else nullcontext()

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor of ``device`` on the CPU, once the collectives that it comes from are done."""
        with self.waiting_for_device():
            return tensor.cpu()

    def any_rank(self, flag: bool) -> bool:
        """Return True on every rank when ``flag`` is true on at least one."""
        return bool(self.largest(float(flag)))

    def largest(self, value: float) -> float:
        """Return the largest of the ranks' values on every rank."""
        if self.control_group is None:
            return value
        box = torch.tensor([value], dtype=torch.float64)
        with heartbeat.waiting():
            wait_for_ranks(dist.all_reduce(box, op=dist.ReduceOp.MAX, group=self.control_group, async_op=True))
        return box.item()

    def gather(self, value: T) -> list[T]:
        """Return every rank's ``value`` in rank order on the leader, an empty list on the others."""
        if self.control_group is None:
            return [value]
        gathered: list[Any] | None = [None] * self.size if self.is_leader else None
        self.barrier()
        with heartbeat.waiting():
            dist.gather_object(value, gathered, group=self.control_group, group_dst=0)
        return gathered or []

    def broadcast(self, value: T) -> T:
        """Return the leader's ``value`` on every rank."""
        if self.control_group is None:
            return value
        box: list[Any] = [value]
        self.barrier()
        with heartbeat.waiting():
            dist.broadcast_object_list(box, group=self.control_group, group_src=0)
        return box[0]  # type: ignore[no-any-return]

    def on_leader(self, action: Callable[[], T]) -> T:
        """Do what only the leader may do, and return its result, or raise its error, on every rank.

        Ranks that look at a shared file system each for themselves may see different states of it, for a minute after a
        change, and would then do different things.
        """
        value: T | None = None
        error: BaseException | None = None
        if self.is_leader:
            try:
                value = action()
            except (UserError, StartAgain, OSError) as found:
                error = found
        value, error = self.broadcast((value, error))
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def stop_request(self, signal_name: str, where: str) -> StopRequested:
        """Return the request to stop that the ranks agreed on, with the signals that they received. Collective.

        Args:
            signal_name: The signal that this rank received, "" without one.
            where: What was done last, for the message.
        """
        signals = zip(self.ranks, self.broadcast(self.gather(signal_name)), strict=True)
        return StopRequested(f"{where}; {', '.join(f'rank {rank} received {name}' for rank, name in signals if name)}")

    def barrier(self) -> None:
        """Return once every rank of the group has called this."""
        if self.control_group is not None:
            with heartbeat.waiting():
                wait_for_ranks(dist.barrier(group=self.control_group, async_op=True))


def wait_for_ranks(work: dist.Work) -> None:
    """Return once all ranks have called the collective; signals are handled meanwhile, as they are not within it."""
    interval_s = MIN_POLL_INTERVAL_S
    while not work.is_completed():
        time.sleep(interval_s)
        interval_s = min(2 * interval_s, MAX_POLL_INTERVAL_S)
    # Raises the error of a collective that failed.
    work.wait()


def new_process_group(ranks: range, **options: Any) -> dist.ProcessGroup | None:
    """Make a process group of these global ranks; None on a rank that is not in it."""
    group = dist.new_group(list(ranks), **options)
    return group if isinstance(group, dist.ProcessGroup) else None
