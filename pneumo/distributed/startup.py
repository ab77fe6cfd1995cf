"""Start and end of the process groups."""

import os
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from pneumo.distributed import environment
from pneumo.distributed.collectives import WAIT_FOR_OTHERS, Group, new_process_group
from pneumo.distributed.partition import fold_groups
from pneumo.distributed.rendezvous import Rendezvous
from pneumo.distributed.world import RANK_TIMEOUT_S, World
from pneumo.runtime.console import set_up_logging
from pneumo.runtime.errors import UserError


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
    control = new_process_group(range(size), backend="gloo", timeout=WAIT_FOR_OTHERS) if size > 1 else None
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
            tensors = new_process_group(ranks, timeout=timedelta(seconds=3 * world.rank_timeout_s))
            control = new_process_group(ranks, backend="gloo", timeout=WAIT_FOR_OTHERS)
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
