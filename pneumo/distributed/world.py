"""All ranks of the job: what this process knows of its place among them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from pneumo.distributed import environment
from pneumo.distributed.collectives import Group
from pneumo.distributed.partition import fold_groups
from pneumo.runtime.console import log

RANK_TIMEOUT_S = 900.0
"""Default of --rank-timeout: longer than anything that a healthy rank does without a sign of life."""


@dataclass(frozen=True, kw_only=True)
class World(Group):
    """All ranks of the job."""

    accelerator: Accelerator
    """Carries precision and placement; launch settings come from its environment."""
    local_size: int = 1
    """Ranks on this node, which share its cores."""
    rank_timeout_s: float = RANK_TIMEOUT_S
    """Seconds that ranks wait for one of them."""

    @property
    def cores(self) -> int:
        """Cores for this rank."""
        return environment.cores_of_rank(os.environ, self.local_size)


def log_world(world: World, folds: Sequence[int]) -> None:
    """Log on rank 0 how many ranks work on which folds."""
    if world.is_leader:
        plan = "; ".join(
            f"rank{'s' if len(r) > 1 else ''} {'-'.join(map(str, sorted({r.start, r.stop - 1})))}: "
            f"fold {', '.join(map(str, f))}"
            for r, f in fold_groups(world.size, folds)
        )
        log.info(
            "%d rank(s) on %s, %d thread(s) each; %s",
            world.size,
            world.device.type,
            torch.get_num_threads(),
            plan,
        )
