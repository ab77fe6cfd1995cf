"""All ranks that were started together, and what this process needs to know beside its rank."""

from dataclasses import dataclass, field

import torch

from pneumo.distributed.collectives import Group
from pneumo.distributed.device import describe
from pneumo.distributed.heartbeat import RANK_TIMEOUT_S
from pneumo.distributed.partition import Wave, WavePlan
from pneumo.distributed.rendezvous import Meeting
from pneumo.runtime.console import log
from pneumo.runtime.errors import counted

EVEN = 0.95
"""Efficiency from which on a plan's ranks count as used."""


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


def log_world(world: World, plan: WavePlan, precision: str) -> None:
    """Log on rank 0 the device, the precision, and which ranks train which folds."""
    if world.is_leader:
        log.info(
            "%s on %s in %s, %s each; %s",
            counted(world.size, "rank"),
            describe(world.device),
            precision,
            counted(torch.get_num_threads(), "thread"),
            "; then ".join(map(_describe_wave, plan.waves)) or "nothing is left to train of the folds asked for",
        )
        if plan.waves:
            log.info("%s", describe_units(plan))


def _describe_wave(wave: Wave) -> str:
    return "; ".join(f"{describe_ranks(ranks)}: fold {', '.join(map(str, folds))}" for ranks, folds in wave)


def describe_ranks(ranks: range) -> str:
    """Return ``rank 0`` or ``ranks 0-3``."""
    return f"rank {ranks.start}" if len(ranks) == 1 else f"ranks {ranks.start}-{ranks.stop - 1}"


def describe_units(plan: WavePlan) -> str:
    """Return how long a plan takes, and how much of the ranks' time it uses."""
    folds = counted(len(plan.folds), "fold")
    uneven = f": they do not divide evenly among {counted(plan.ranks, 'rank')}" if plan.efficiency < EVEN else ""
    steps = counted(plan.micro_batches, "micro-batch", "micro-batches")
    return (
        f"{folds} with {steps} in a step take {plan.units:.4g} times one fold on one rank, at an efficiency of"
        f" {plan.efficiency:.0%}{uneven}"
    )


def log_idle_ranks(world: World, plan: WavePlan) -> None:
    """Warn on rank 0 of ranks that shorten no training, with the number that could train."""
    idle = len(plan.idle_ranks)
    if not world.is_leader or not plan.waves or not idle:
        return
    folds = len(plan.folds)
    advice = (
        "a smaller --micro-batch-size lets more ranks share a fold, in a new --run"
        if plan.largest_group == plan.micro_batches
        else "ranks that share a GPU cannot train a fold together: start one process for each GPU"
    )
    log.warning(
        "%d of %d ranks train: the other %d would not shorten the training of %s with %s in a step, which uses at"
        " most %s; they wait, and take part in the predictions at the end; %s",
        world.size - idle,
        world.size,
        idle,
        counted(folds, "fold"),
        counted(plan.micro_batches, "micro-batch", "micro-batches"),
        counted(folds * plan.largest_group, "rank"),
        advice,
    )
