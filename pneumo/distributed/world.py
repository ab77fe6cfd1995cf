"""All ranks that were started together, and what this process needs to know beside its rank."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from pneumo.distributed.collectives import Group
from pneumo.distributed.device import describe
from pneumo.distributed.heartbeat import RANK_TIMEOUT_S
from pneumo.distributed.partition import FoldGroup, fold_groups
from pneumo.distributed.rendezvous import Meeting
from pneumo.runtime.console import log
from pneumo.runtime.errors import counted


@dataclass(frozen=True, kw_only=True)
class World(Group):
    """All ranks that were started together."""

    cores: int
    """CPU cores for this rank."""
    ranks_on_machine: int = 1
    """How many ranks share this rank's machine, and its memory."""
    rank_timeout_s: float = RANK_TIMEOUT_S
    """Seconds without progress or response after which a rank is lost."""
    meeting: Meeting = field(default_factory=Meeting)
    """Where the ranks have met; their watchdogs exchange heartbeats there."""


def log_world(world: World, groups: Sequence[FoldGroup], precision: str) -> None:
    """Log on rank 0 the device, the precision, and which ranks train which folds."""
    if world.is_leader:
        plan = "; ".join(
            f"rank{'s' if len(r) > 1 else ''} {'-'.join(map(str, sorted({r.start, r.stop - 1})))}: "
            f"fold {', '.join(map(str, f))}"
            for r, f in groups
            if f
        )
        log.info(
            "%s on %s in %s, %s each; %s",
            counted(world.size, "rank"),
            describe(world.device),
            precision,
            counted(torch.get_num_threads(), "thread"),
            plan,
        )


def log_idle_ranks(world: World, folds: int, micro_batches: int) -> None:
    """Warn on rank 0 of ranks that shorten no training, with the number that could train."""
    idle = sum(not group.folds for group in fold_groups(world.size, range(folds), micro_batches))
    if world.is_leader and idle:
        log.warning(
            "%d of %d ranks train: the other %d would not shorten the training of %s with %s in a step, which uses at"
            " most %s; they wait, and take part in the predictions at the end; a smaller"
            " --micro-batch-size lets more ranks share a fold, in a new --run",
            world.size - idle,
            world.size,
            idle,
            counted(folds, "fold"),
            counted(micro_batches, "micro-batch", "micro-batches"),
            counted(folds * micro_batches, "rank"),
        )
