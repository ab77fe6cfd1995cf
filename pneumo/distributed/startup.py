"""Start and end of the process groups."""

import os
import socket
from collections.abc import MutableMapping, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from pneumo.distributed import environment, heartbeat, launcher_watch
from pneumo.distributed.collectives import CONTROL_TIMEOUT, Group, new_process_group
from pneumo.distributed.device import choose_device, resolve_precision, warn_of_emulated_precision
from pneumo.distributed.heartbeat import RANK_TIMEOUT_S
from pneumo.distributed.partition import WavePlan, plan_waves, plan_waves_on_gpus
from pneumo.distributed.rendezvous import Meeting, Rendezvous
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.watchdog import Watchdog
from pneumo.distributed.world import World
from pneumo.runtime import cli
from pneumo.runtime.console import set_up_logging
from pneumo.runtime.errors import UserError, counted
from pneumo.runtime.machine import seconds_since_start

START_TIMEOUT_S = 40.0
"""Longest wait for a rank that was started at the same moment as this one, beyond the time that this one took."""
START_HEARTBEAT_TIMEOUT_S = 30.0
"""A peer without a heartbeat for so long, while the process groups are made, is lost; nothing there takes as long."""


def init(
    *,
    precision: str = "fp32",
    expect_world: int | None = None,
    rank_timeout_s: float = RANK_TIMEOUT_S,
    stop: StopFlag | None = None,
) -> World:
    """Join the ranks that a launcher or Slurm started, or be the only rank.

    Args:
        precision: ``"fp32"``, ``"bf16"``, ``"fp16"``, or ``"auto"`` for the one that suits the device: what is going to
            be computed in.
        expect_world: Number of ranks that the launcher was asked for.
        rank_timeout_s: Seconds without a connection, progress or response after which a rank is lost.
        stop: Ends the wait for the other ranks when the process is asked to stop.

    Raises:
        UserError: When the number of ranks is not the one asked for, the launcher's variables are wrong, or the device
            cannot be used or does not have the precision.
        RankLost: When not all ranks connected in time.
        StopRequested: When the process was asked to stop before all ranks had connected.
    """
    assert rank_timeout_s >= 1
    launcher_watch.stop_with_launcher(os.environ)
    environment.translate_slurm_variables(os.environ)
    launched = environment.launched_rank(os.environ)
    device = choose_device()
    resolved = resolve_precision(precision, device)
    if launched.rank == 0:
        warn_of_emulated_precision(resolved, device)
    environment.check_accelerate(os.environ, resolved)
    cores = environment.cores_per_rank(os.environ)
    on_gpu = device.type == "cuda"
    if on_gpu and not environment.is_alone(os.environ):
        disable_unsupported_links(os.environ)
    if not on_gpu:
        # accelerate would otherwise choose a number itself, and log it on every rank.
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    # Before any rank connects: a rank that ends here would break the connections that the others are making.
    _check_size(launched.size, expect_world or launched.size)
    if launched.size > 1:
        cli.skip_teardown()
        store, meeting = _meet(launched, rank_timeout_s, stop)
        # A rank that dies while the connections are made is named like one that dies later.
        with Watchdog(meeting, rank_timeout_s, "start", heartbeat_timeout_s=START_HEARTBEAT_TIMEOUT_S):
            world = _connect(meeting, device, rank_timeout_s=rank_timeout_s, cores=cores, store=store)
    else:
        world = _connect(Meeting(), device, rank_timeout_s=rank_timeout_s, cores=cores)
    if not on_gpu or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores)
    return world


def disable_unsupported_links(environ: MutableMapping[str, str]) -> None:
    """Keep NCCL from links that this machine's GPUs do not support, as ``accelerate launch`` does.

    accelerate refuses the ranks of other launchers on GPUs of the RTX 40 series with an early driver otherwise.
    """
    from accelerate.utils import check_cuda_p2p_ib_support

    if not check_cuda_p2p_ib_support():
        for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
            environ.setdefault(name, "1")


def _check_size(found: int, expected: int) -> None:
    if found != expected:
        raise UserError(
            f"a world of {counted(found, 'rank')}",
            f"{expected}",
            "start with `accelerate launch --multi_gpu --num_processes N` (also on a machine without GPUs), torchrun,"
            " srun or job/launch.py, or correct --expect-world",
        )


def _meet(launched: environment.LaunchedRank, rank_timeout_s: float, stop: StopFlag | None) -> tuple[TCPStore, Meeting]:
    """Wait until all ranks of this start are there."""
    timeout_s = rank_timeout_s
    if environment.starts_all_ranks_at_once(os.environ):
        # The others may take longer than this rank for the same imports, but not many times as long.
        timeout_s = min(rank_timeout_s, START_TIMEOUT_S + 2 * seconds_since_start())
    met = Rendezvous(
        launched.host,
        launched.port,
        launched.rank,
        launched.size,
        timeout_s,
        environment.has_agent(os.environ),
        stop_signal=lambda: stop.signal_name if stop is not None else "",
    ).join()
    launcher_watch.report_meeting(os.environ)
    return met


def _connect(
    meeting: Meeting,
    device: torch.device,
    *,
    rank_timeout_s: float,
    cores: int,
    store: TCPStore | None = None,
) -> World:
    """Make the process groups of all ranks. Collective."""
    timeout = timedelta(seconds=rank_timeout_s)
    with heartbeat.waiting():
        if store is not None:
            store.set_timeout(timeout)
            # Between all ranks gloo, also on GPUs: NCCL's memory and its rule of one GPU for each rank are for the fold
            # groups, which are the ones that exchange tensors.
            dist.init_process_group("gloo", store=store, rank=meeting.rank, world_size=meeting.size, timeout=timeout)
        # Importing accelerate takes as long as a third of torch.
        rank, size = (0, 1) if environment.is_alone(os.environ) else _join_by_accelerate(device, timeout)
        # `accelerate launch --cpu` starts one process, and some set-ups several of which each is rank 0 of 1.
        _check_size(size, meeting.size)
        if size > 1:
            set_up_logging(f"rank {rank}")
        control = new_process_group(range(size), backend="gloo", timeout=CONTROL_TIMEOUT) if size > 1 else None
    world = World(
        rank=rank,
        size=size,
        device=device,
        tensor_group=dist.group.WORLD if size > 1 else None,
        control_group=control,
        cores=cores,
        ranks_on_machine=environment.ranks_on_machine(os.environ),
        rank_timeout_s=rank_timeout_s,
        meeting=meeting,
    )
    # Until here a lost rank is found by the watchdog of the start, which no rank may leave before all are connected.
    world.barrier()
    return world


def _join_by_accelerate(device: torch.device, timeout: timedelta) -> tuple[int, int]:
    """Return this process's rank, and how many there are."""
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    try:
        accelerator = Accelerator(
            cpu=device.type != "cuda",
            # The recipe's precision is applied where the network is called. Given, none is read from the launcher's
            # variables.
            mixed_precision="no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timeout)],
        )
    except ValueError as error:
        if not any(name.startswith("ACCELERATE_") for name in os.environ):
            raise
        raise UserError(
            f"accelerate refuses its settings: {error}",
            "variables ACCELERATE_* with values that it knows",
            "correct or unset them, or its configuration file",
        ) from error
    return accelerator.process_index, accelerator.num_processes


def shutdown() -> None:
    """Destroy the process groups, so that no rank waits in a destructor.

    No World or Group may be kept in a global variable: gloo aborts when a process group outlives the interpreter.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def plan_folds(world: World, folds: Sequence[int], micro_batches: int) -> WavePlan:
    """Return which ranks train which folds, and when. Collective.

    Args:
        world: All ranks.
        folds: The folds to train, which are the same on every rank.
        micro_batches: Micro-batches in a step.
    """
    if world.device.type != "cuda":
        return plan_waves(world.size, folds, micro_batches)
    uuid = str(torch.cuda.get_device_properties(world.device).uuid)
    return plan_waves_on_gpus(world.broadcast(world.gather((socket.gethostname(), uuid))), folds, micro_batches)


def make_fold_groups(world: World, plan: WavePlan) -> list[tuple[Group, tuple[int, ...]]]:
    """Make the fold groups of all waves; return those that this rank is in, each with its folds, in their order.

    Now and not when a wave begins, as the world may have lost ranks by then, rank 0 and its store among them. Before a
    group trains, its ranks call ``connect``, and at its end ``release``. Collective: every rank calls it with the same
    plan.
    """
    mine = []
    for ranks, folds in (group for wave in plan.waves for group in wave):
        tensors = control = None
        if len(ranks) > 1:
            # new_group is collective over the world: every rank makes every group, its own or not.
            # Longer than the watchdog needs to name a lost rank.
            timeout = timedelta(seconds=3 * world.rank_timeout_s)
            with heartbeat.waiting():
                # NCCL, without the device, connects the ranks in ``connect``: the groups of all waves together would
                # take memory of the device for each.
                backend = "nccl" if world.device.type == "cuda" else "gloo"
                tensors = new_process_group(ranks, backend=backend, timeout=timeout)
                control = new_process_group(ranks, backend="gloo", timeout=CONTROL_TIMEOUT)
        if world.rank in ranks:
            group = Group(
                rank=world.rank - ranks.start,
                size=len(ranks),
                first_rank=ranks.start,
                device=world.device,
                tensor_group=tensors,
                control_group=control,
            )
            mine.append((group, folds))
    return mine


def connect(group: Group, stop: StopFlag, watchdog: Watchdog) -> None:
    """Wait for the ranks of a group, which may still train folds of an earlier wave, and connect their devices.

    Collective over the group, whose ranks this one depends on from now.

    Raises:
        StopRequested: When this process is asked to stop while it waits.
    """
    if group.size > 1:
        # NCCL finds the other ranks through the store, which is rank 0's.
        needed = {0, *group.ranks} if group.device.type == "cuda" else group.ranks
        watchdog.depend_on(needed, between_folds=True)
        heartbeat.touch("waiting for the ranks of the next fold")
        with stop.raising("the wait for the ranks of the next fold"):
            group.barrier()
        group.to_host(group.all_reduce_sum_(torch.zeros(1, device=group.device)))
    watchdog.depend_on(group.ranks)


def release(group: Group) -> None:
    """Free what connects the devices of a group that has trained its folds. To be called by all of its ranks."""
    if group.tensor_group is not None:
        dist.destroy_process_group(group.tensor_group)
