"""Ranks, fold groups, and the collectives between them.

W ranks that train F folds form G = min(W, F) fold groups. A group is a block of neighbouring ranks (so that it
stays inside a node where it can), trains its folds one after another, and runs DDP over its own process group::

    W = 4, F = 3      rank    0   1   2   3
                      group   0   0   1   2      group g trains folds g, g + G, ...

Tensors of the size of a model travel over the device's backend (NCCL or gloo); flags, strings and evidence travel
over gloo, with a time-out that allows one fold group to wait for another.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from pneumo.distributed import environment, heartbeat
from pneumo.distributed.rendezvous import Rendezvous
from pneumo.runtime.console import log, set_up_logging
from pneumo.runtime.errors import UserError

T = TypeVar("T")

WAIT_FOR_OTHERS = timedelta(days=7)
"""How long one fold group may wait for another: a fold can take days. ``watch`` ends the wait for a lost one."""
RANK_TIMEOUT_S = 900.0
"""Default of --rank-timeout: longer than anything that a healthy rank does without a sign of life."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some ranks that work together, and the collectives between them; every collective is a no-op for one rank."""

    rank: int
    """This process's place in the group, from 0."""
    size: int
    """Number of ranks in the group."""
    device: torch.device
    """The device this rank computes on."""
    tensors: dist.ProcessGroup | None = None
    """Process group for tensors on ``device``; None when the group is one rank."""
    first: int = 0
    """The world's number of this group's rank 0; its ranks are neighbours."""
    control: dist.ProcessGroup | None = None
    """gloo process group for flags and Python objects; None when the group is one rank."""

    @property
    def ranks(self) -> range:
        """The group's ranks as the world counts them."""
        return range(self.first, self.first + self.size)

    @property
    def is_leader(self) -> bool:
        """True on the rank that writes the group's files."""
        return self.rank == 0

    def all_reduce_sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor on ``device`` over the ranks, in place."""
        if self.tensors is not None:
            with heartbeat.waiting():
                dist.all_reduce(tensor, group=self.tensors)
        return tensor

    def any_rank(self, flag: bool) -> bool:
        """Return True on every rank when ``flag`` is true on at least one."""
        if self.control is None:
            return flag
        value = torch.tensor([int(flag)], dtype=torch.int32)
        with heartbeat.waiting():
            dist.all_reduce(value, op=dist.ReduceOp.MAX, group=self.control)
        return bool(value.item())

    def gather(self, value: T) -> list[T]:
        """Return every rank's ``value`` in rank order on the leader, an empty list on the others."""
        if self.control is None:
            return [value]
        gathered: list[Any] | None = [None] * self.size if self.is_leader else None
        with heartbeat.waiting():
            dist.gather_object(value, gathered, group=self.control, group_dst=0)
        return gathered or []

    def broadcast(self, value: T) -> T:
        """Return the leader's ``value`` on every rank."""
        if self.control is None:
            return value
        box: list[Any] = [value]
        with heartbeat.waiting():
            dist.broadcast_object_list(box, group=self.control, group_src=0)
        return box[0]  # type: ignore[no-any-return]

    def barrier(self) -> None:
        """Return once every rank of the group has come here."""
        if self.control is not None:
            with heartbeat.waiting():
                dist.barrier(group=self.control)


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


def init(*, precision: str = "fp32", expect_world: int | None = None, rank_timeout_s: float = RANK_TIMEOUT_S) -> World:
    """Join the job that a launcher or Slurm started, or be a job of one process.

    Args:
        precision: ``"fp32"``, ``"bf16"``, ``"fp16"``, or ``"auto"`` for bf16 where the device has it.
        expect_world: Number of ranks that the launcher was asked for.
        rank_timeout_s: Seconds that the ranks wait for one of them to come, or to answer, before they give it up.

    Raises:
        UserError: When there are fewer or more ranks than were asked for.
        RankLost: When not all of them came in time.
    """
    if rank_timeout_s < 1:
        raise UserError(f"--rank-timeout {rank_timeout_s:g}", "at least 1 second", "correct --rank-timeout")
    environment.adopt_slurm(os.environ)
    on_gpu = torch.cuda.is_available()
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not on_gpu:
        # accelerate would choose for itself, and say so on every rank.
        os.environ.setdefault("OMP_NUM_THREADS", str(environment.cores_of_rank(os.environ, local_size)))
    accelerator = _meet(precision, rank_timeout_s, on_gpu)
    rank, size = accelerator.process_index, accelerator.num_processes
    # accelerate starts one process under `--cpu`, and several that each believe to be alone in some set-ups.
    promised = expect_world or int(os.environ.get("WORLD_SIZE", "1"))
    if size != promised:
        raise UserError(
            f"the launcher started {size} rank(s) that know of each other",
            f"{promised}",
            "start with `accelerate launch --multi_gpu --num_processes N` (also on a machine without GPUs), torchrun,"
            " srun or job/launch.py, or correct --expect-world",
        )
    if not on_gpu or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(environment.cores_of_rank(os.environ, local_size))
    if size > 1:
        set_up_logging(f"rank {rank}")
    control = _new_group(range(size), backend="gloo", timeout=WAIT_FOR_OTHERS) if size > 1 else None
    return World(
        rank=rank,
        size=size,
        device=accelerator.device,
        tensors=dist.group.WORLD if size > 1 else None,
        control=control,
        accelerator=accelerator,
        local_size=local_size,
        rank_timeout_s=rank_timeout_s,
    )


def _meet(precision: str, rank_timeout_s: float, on_gpu: bool) -> Accelerator:
    """Find the other ranks of this start."""
    patience = timedelta(seconds=rank_timeout_s)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1:
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise UserError(
                f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set",
                "all of RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or none",
                "start with a launcher (job/launch.py, accelerate launch, torchrun, srun), or unset WORLD_SIZE",
            )
        rank, host, port = int(os.environ["RANK"]), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = Rendezvous(host, port, rank, size, rank_timeout_s, environment.has_agent(os.environ)).join()
        store.set_timeout(patience)
        backend = "nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    return Accelerator(
        cpu=not on_gpu,
        mixed_precision=_accelerate_precision(precision),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=patience)],
    )


def _new_group(ranks: range, **options: Any) -> dist.ProcessGroup | None:
    """Make a process group; None on a rank that is not in it."""
    group = dist.new_group(list(ranks), **options)
    return group if isinstance(group, dist.ProcessGroup) else None


def shutdown() -> None:
    """Take the process groups down, so that no rank is left waiting in a destructor.

    No World or Group may be kept in a global variable: gloo aborts when a process group outlives the interpreter.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def _accelerate_precision(precision: str) -> str:
    """Translate a recipe's precision into accelerate's word for it."""
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    return {"fp32": "no"}.get(precision, precision)


def fold_groups(ranks: int, folds: Sequence[int]) -> list[tuple[range, tuple[int, ...]]]:
    """Divide ranks and folds into groups: for each group its ranks and the folds it trains in turn.

    Args:
        ranks: Number of ranks W.
        folds: The folds to train.
    """
    groups = min(ranks, len(folds))
    starts = [(g * ranks + groups - 1) // groups for g in range(groups + 1)]
    return [(range(starts[g], starts[g + 1]), tuple(folds[g::groups])) for g in range(groups)]


def join_fold_group(world: World, folds: Sequence[int]) -> tuple[Group, tuple[int, ...]]:
    """Return this rank's fold group and the folds that the group trains.

    Collective: every rank calls it with the same folds.
    """
    mine: tuple[Group, tuple[int, ...]] | None = None
    for ranks, group_folds in fold_groups(world.size, folds):
        tensors = control = None
        if len(ranks) > 1:
            # new_group is collective over the world: every rank makes every group, its own or not.
            # Longer than `watch` needs to find a lost rank and name it.
            tensors = _new_group(ranks, timeout=timedelta(seconds=3 * world.rank_timeout_s))
            control = _new_group(ranks, backend="gloo", timeout=WAIT_FOR_OTHERS)
        if world.rank in ranks:
            group = Group(
                rank=world.rank - ranks.start,
                size=len(ranks),
                first=ranks.start,
                device=world.device,
                tensors=tensors,
                control=control,
            )
            mine = group, group_folds
    assert mine is not None
    return mine


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
