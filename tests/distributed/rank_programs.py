"""What the ranks of the tests do, and the worlds that run it: one Python that has imported torch forks all of them.

Started as a script, it prints the exit codes and the output of every world in ``WORLDS`` as JSON.
"""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn, cast

import torch
import torch.distributed as dist

from pneumo.distributed import heartbeat, startup, watchdog
from pneumo.distributed.collectives import Group
from pneumo.distributed.partition import FoldGroup, WavePlan
from pneumo.distributed.peers import ExitStatus, HeartbeatExchange
from pneumo.distributed.startup import connect, init, make_fold_groups, plan_folds, release, shutdown
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.vote import Vote
from pneumo.distributed.watchdog import Watchdog
from pneumo.runtime import cli
from pneumo.runtime.errors import StopRequested, UserError

MAX_RANKS = 8
"""Ranks that run at the same time; most of them sleep."""


class Ended(NamedTuple):
    """How a world ended."""

    codes: list[int]
    """Exit code of each rank; negative = killed by that signal."""
    output: str
    """What all of its ranks printed."""


def collectives() -> None:
    """Use every collective in two fold groups, and print what each rank got."""
    world = init()
    ((group, folds),) = make_fold_groups(world, plan_folds(world, (3, 4), 2))
    value = group.all_reduce_sum_(torch.tensor([world.rank + 1.0])).item()
    # Only rank 2 was asked to stop.
    stop = group.any_rank(world.rank == 2)
    gathered = group.gather(f"r{world.rank}")
    row = (world.rank, group.rank, group.size, folds, value, stop, gathered, group.broadcast(world.rank))
    # In the first group the leader's call succeeds; in the second it does not.
    row = (*row, _ask_leader(group, world.rank))
    for one in world.gather(row):
        sys.stdout.write("|".join(map(str, one)) + "\n")
    shutdown()


def _ask_leader(group: Group, rank: int) -> str:
    """Return what the leader's call gives this rank: a result in the group of rank 0, an error in any other."""

    def compute() -> str:
        if rank:
            raise UserError(f"rank {rank}", "rank 0", "be it")
        return f"result of {rank}"

    try:
        return group.on_leader(compute)
    except UserError as error:
        return str(error)


def vote() -> None:
    """Vote on two ranks: rank 0 takes part in two votes before rank 1 does in its second."""
    world = init()
    store = dist.distributed_c10d._get_default_store()
    vote, seen = Vote(world, 2), []
    seen.append(vote.cast(False, False))
    seen.append(vote.cast(world.rank == 1, False) if world.rank == 0 else [])
    if world.rank == 0:
        # It would never get here if it waited for rank 1.
        store.set("rank 0 goes on", "")
    else:
        store.wait(["rank 0 goes on"])
        seen[-1] = vote.cast(world.rank == 1, False)
    # Other collectives come in between, in the same order on all ranks.
    assert world.broadcast(world.rank) == 0
    seen.append(vote.cast(False, world.rank == 0))
    seen.append(vote.settle())
    seen.append(vote.settle())
    seen.append(vote.cast(False, False))
    for one in world.gather(seen):
        sys.stdout.write(f"{one}\n")
    shutdown()


def lose_a_voter() -> None:
    """Vote at each step, and be killed on rank 1 before its third."""
    world = init(rank_timeout_s=5)
    with Watchdog(world.meeting, world.rank_timeout_s):
        vote = Vote(world, 1)
        for step in range(100):
            heartbeat.touch(f"step {step}")
            if (world.rank, step) == (1, 2):
                time.sleep(2)
                os.kill(os.getpid(), signal.SIGKILL)
            vote.cast(False)
    shutdown()


def exchange() -> None:
    """Read the other rank's activity and exit status on rank 0, and print them."""
    world = init()
    peers = HeartbeatExchange(world.meeting, "test")
    peers.start()
    if world.rank == 0:
        peer = peers.peers[1]
        _wait_until(lambda: peer.activity == "counting" and peer.waiting)
        sys.stdout.write(f"{peer.process is not None} {peer.exit_status}\n")
        world.barrier()
        _wait_until(lambda: peer.exit_status is not None)
        sys.stdout.write(f"{peer.exit_status}\n")
    else:
        heartbeat.touch("counting")
        world.barrier()
        peers.publish_exit(ExitStatus(2, "a wrong input"))
    world.barrier()
    peers.close()
    shutdown()


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lose_a_rank(how: str, bad_rank: int, folds: int) -> None:
    """Train fold groups with a barrier at each step, of which one rank is lost."""
    world = init(rank_timeout_s=5)
    with Watchdog(world.meeting, world.rank_timeout_s) as watch:
        ((group, _),) = make_fold_groups(world, plan_folds(world, range(folds), 2))
        watch.depend_on(group.ranks)
        group.barrier()
        if world.rank == bad_rank:
            heartbeat.touch("counting")
            time.sleep(2 if how in ("killed", "frozen") else 0)  # long enough to publish its activity
            FAILURES[how]()
        for _ in range(8):
            time.sleep(0.5)
            group.barrier()
        sys.stdout.write(f"rank {world.rank} finished its work\n")
        watch.depend_on(range(world.size))
        world.barrier()
    shutdown()


def train_waves(bad_rank: int = -1, how: Callable[[], object] | None = None, plan: WavePlan | None = None) -> None:
    """Train two waves, the second in groups of the first one's ranks; something befalls a rank in the first one."""
    stop = StopFlag()
    world = init(rank_timeout_s=5)
    with Watchdog(world.meeting, world.rank_timeout_s) as watch:
        for group, folds in make_fold_groups(world, plan or plan_folds(world, range(3), 2)):
            connect(group, stop, watch)
            if world.rank == bad_rank:
                assert how is not None
                time.sleep(1)
                how()
            else:
                # Until what befalls the other one is known.
                _work(3)
            total = group.all_reduce_sum_(torch.ones(1)).item()
            together = f" with {total:.0f}" if group.size > 1 else ""
            sys.stdout.write(f"rank {world.rank} trained fold {', '.join(map(str, folds))}{together}\n")
            sys.stdout.flush()
            release(group)
            assert group.tensor_group not in dist.distributed_c10d._world.pg_map
        watch.depend_on(range(world.size))
        with stop.raising("the wait for the other folds"):
            world.barrier()
    shutdown()


WITHOUT_RANK_0 = WavePlan(
    ranks=4,
    micro_batches=2,
    largest_group=2,
    waves=(
        tuple(FoldGroup(range(rank, rank + 1), (rank,)) for rank in range(4)),
        (FoldGroup(range(2, 4), (4,)),),
    ),
)


class QueuedSum:
    """A sum over the ranks as a GPU does it: the host goes on once it is queued, and waits when it reads the result."""

    def __init__(self, group: Group) -> None:
        self.tensor = torch.ones(1)
        self.work = dist.all_reduce(self.tensor, group=group.tensor_group, async_op=True)

    def cpu(self) -> torch.Tensor:
        self.work.wait()
        return self.tensor


def hang_before_a_queued_collective() -> None:
    """Wait for a result on rank 0, of a collective that rank 1 never queues."""
    world = init(rank_timeout_s=4)
    with Watchdog(world.meeting, world.rank_timeout_s) as watch:
        ((group, _),) = make_fold_groups(world, plan_folds(world, (0,), 2))
        if world.rank == 0:
            settings = [f"{n}={os.environ[f'TORCH_NCCL_{n}']}" for n in ("ASYNC_ERROR_HANDLING", "DUMP_ON_TIMEOUT")]
            sys.stdout.write(f"rank 0: {' '.join(settings)}\n")
        watch.depend_on(group.ranks)
        on_gpus = dataclasses.replace(group, device=torch.device("cuda", world.rank))
        on_gpus.to_host(cast("torch.Tensor", QueuedSum(group)))
        # Later by as much as a rank needs to publish its end, or rank 0 would end first whoever is at fault.
        heartbeat.touch("counting")
        if world.rank == 1:
            time.sleep(2)
            heartbeat.touch("counting")
            stuck_here()
        heartbeat.touch("reading the loss")
        on_gpus.to_host(cast("torch.Tensor", QueuedSum(group)))
    shutdown()


def stop_a_rank(stopped: int, error: BaseException, *, works_s: float) -> None:
    """Stop the rank of one fold while the other's works on its fold, or has trained it and waits for the others."""
    world = init(rank_timeout_s=5)
    with Watchdog(world.meeting, world.rank_timeout_s) as watch:
        ((group, _),) = make_fold_groups(world, plan_folds(world, range(2), 2))
        watch.depend_on(group.ranks)
        if world.rank == stopped:
            time.sleep(2)
            raise error
        _work(works_s)
        watch.depend_on(range(world.size))
        # The stopped rank has ended long before, with rank 0 the store, too.
        _work(works_s)
        world.barrier()
    shutdown()


def _work(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        heartbeat.touch("counting")
        time.sleep(0.1)


def leave_first(first: int) -> None:
    """Be done on one rank while the other one still works, for longer than a peer may be silent."""
    world = init(rank_timeout_s=5)
    with Watchdog(world.meeting, world.rank_timeout_s):
        world.barrier()
        if world.rank != first:
            _work(8)
    sys.stdout.write("done\n")
    shutdown()


def die_while_connecting(bad_rank: int) -> None:
    """Be killed after all ranks have met, and before their process groups are made."""
    startup.START_HEARTBEAT_TIMEOUT_S = 4
    if os.environ["RANK"] == str(bad_rank):
        dist.init_process_group = _die_soon  # type: ignore[assignment]
    init(rank_timeout_s=900)


def _die_soon(*arguments: object, **options: object) -> None:
    # By then the other rank has seen that the rendezvous is sealed.
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def stuck_here() -> None:
    time.sleep(1000)


def _bug() -> None:
    raise ZeroDivisionError("a bug of this rank")


def _wrong_input() -> None:
    raise UserError("shard 3 is truncated", "a complete one", "copy it again")


FAILURES: dict[str, Callable[[], object]] = {
    "hang": stuck_here,
    "bug": _bug,
    "wrong input": _wrong_input,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "frozen": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}


def pause() -> None:
    """Be paused for longer than the rank timeout, as by Ctrl-Z, and be busy before the next progress."""
    watchdog.MAX_PAUSE_S = 1.0
    with Watchdog(init().meeting, rank_timeout_s=4):
        time.sleep(1)
        subprocess.Popen(["sh", "-c", f"sleep 6; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(2)
    sys.stdout.write("resumed\n")


LOST = [
    ("hang", 1),
    ("bug", 1),
    ("bug", 0),
    ("wrong input", 1),
    ("killed", 1),
    ("killed", 0),
    ("frozen", 1),
]
WORLDS: dict[str, tuple[int, Callable[[], object]]] = {
    "killed 2 of 4": (4, partial(lose_a_rank, "killed", 2, 2)),
    "killed 0 of 4": (4, partial(lose_a_rank, "killed", 0, 2)),
    **{f"{how} {rank}": (2, partial(lose_a_rank, how, rank, 1)) for how, rank in LOST},
    "collectives": (4, collectives),
    "vote": (2, vote),
    "lost voter": (2, lose_a_voter),
    "exchange": (2, exchange),
    **{
        f"stopped {rank}, the other works {s} s": (2, partial(stop_a_rank, rank, StopRequested("step 3"), works_s=s))
        for rank in (0, 1)
        for s in (0, 5)
    },
    "interrupted 0": (2, partial(stop_a_rank, 0, KeyboardInterrupt(), works_s=5)),
    **{f"done first: {rank}": (2, partial(leave_first, rank)) for rank in (0, 1)},
    **{f"killed while connecting: {rank}": (2, partial(die_while_connecting, rank)) for rank in (0, 1)},
    "two waves": (2, train_waves),
    **{f"killed {rank} before the next wave": (2, partial(train_waves, rank, FAILURES["killed"])) for rank in (0, 1)},
    "killed 0, not needed for the next wave": (4, partial(train_waves, 0, FAILURES["killed"], WITHOUT_RANK_0)),
    **{
        f"stopped {rank} between waves": (2, partial(train_waves, rank, lambda: signal.raise_signal(signal.SIGTERM)))
        for rank in (0, 1)
    },
    "device waits": (2, hang_before_a_queued_collective),
    "pause": (1, pause),
    "one of two": (1, partial(init, expect_world=2)),
}
"""Number of ranks, and what each of them runs."""


def run_rank(program: Callable[[], object], rank: int, size: int, port: int, output: Path) -> NoReturn:
    """Run a rank in this process, and end it."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    cli.skip_teardown()
    cli.run(lambda: program() and None)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    """Run the worlds, as many at the same time as ``MAX_RANKS`` permits, and print how they ended."""
    waiting, running = list(WORLDS.items()), {}
    codes: dict[str, dict[int, int]] = {name: {} for name in WORLDS}
    with tempfile.TemporaryDirectory() as directory:
        while waiting or running:
            while waiting and len(running) + waiting[0][1][0] <= MAX_RANKS:
                name, (size, program) = waiting.pop(0)
                port = free_port()
                for rank in range(size):
                    child = os.fork()
                    if child == 0:
                        run_rank(program, rank, size, port, Path(directory) / name)
                    running[child] = name, rank
            child, status = os.wait()
            name, rank = running.pop(child)
            codes[name][rank] = os.waitstatus_to_exitcode(status)
        ended = {n: Ended([c[r] for r in sorted(c)], (Path(directory) / n).read_text()) for n, c in codes.items()}
    sys.stdout.write(json.dumps(ended))


if __name__ == "__main__":
    main()
