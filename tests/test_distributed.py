"""Fold groups, agreement between real processes, and stopping."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pneumo.distributed import Group, StopFlag, fold_groups, seed_step


@pytest.mark.parametrize(
    ("ranks", "folds", "expected"),
    [
        (1, 5, [([0], (0, 1, 2, 3, 4))]),
        (2, 5, [([0], (0, 2, 4)), ([1], (1, 3))]),
        (5, 5, [([k], (k,)) for k in range(5)]),
        (8, 5, [([0, 1], (0,)), ([2, 3], (1,)), ([4], (2,)), ([5, 6], (3,)), ([7], (4,))]),
        (16, 2, [(list(range(8)), (0,)), (list(range(8, 16)), (1,))]),
        (4, 1, [([0, 1, 2, 3], (0,))]),
    ],
)
def test_ranks_and_folds_are_divided(ranks: int, folds: int, expected: list[tuple[list[int], tuple[int, ...]]]) -> None:
    assert [(list(r), f) for r, f in fold_groups(ranks, range(folds))] == expected


@pytest.mark.parametrize("ranks", range(1, 20))
@pytest.mark.parametrize("folds", [1, 2, 3, 5, 10])
def test_every_rank_has_a_group_and_every_fold_is_trained_once(ranks: int, folds: int) -> None:
    groups = fold_groups(ranks, range(folds))
    assert [rank for r, _ in groups for rank in r] == list(range(ranks))
    assert sorted(fold for _, f in groups for fold in f) == list(range(folds))
    sizes = [len(r) for r, _ in groups]
    assert max(sizes) - min(sizes) <= 1


def test_one_rank_needs_no_process_group() -> None:
    group = Group(rank=0, size=1, device=torch.device("cpu"))
    assert group.is_leader
    assert group.any(True)
    assert not group.any(False)
    assert group.gather("x") == ["x"]
    assert group.broadcast(3) == 3
    assert torch.equal(group.sum_(torch.ones(2)), torch.ones(2))
    group.wait()


SCRIPT = """
import torch
from pneumo.distributed import join, leave, split
world = join()
group, folds = split(world, (3, 4))
value = group.sum_(torch.tensor([world.rank + 1.0])).item()
# The process that was asked to stop is rank 2 alone.
stop = group.any(world.rank == 2)
gathered = group.gather(f"r{world.rank}")
every = world.gather((world.rank, group.rank, group.size, folds, value, stop, gathered, group.broadcast(world.rank)))
if world.is_leader:
    for row in every:
        print(*row, sep="|", flush=True)
leave()
"""


def test_four_processes_in_two_groups_agree_among_themselves(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "4", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        *("0|0|2|(3,)|3.0|False|['r0',", "'r1']|0", "1|1|2|(3,)|3.0|False|[]|0"),
        *("2|0|2|(4,)|7.0|True|['r2',", "'r3']|2", "3|1|2|(4,)|7.0|True|[]|2"),
    ]


def test_a_signal_sets_the_flag_and_a_second_interrupt_ends_the_process() -> None:
    script = """
import os, signal
from pneumo.distributed import StopFlag
flag = StopFlag()
assert not flag
os.kill(os.getpid(), signal.SIGUSR1)
assert flag and flag.signal_name == "SIGUSR1"
os.kill(os.getpid(), signal.SIGTERM)
print("still here", flush=True)
os.kill(os.getpid(), signal.SIGINT)
print("never printed", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "still here\n"
    assert done.returncode == -signal.SIGINT


def test_the_flag_leaves_handlers_alone_outside_the_main_thread() -> None:
    import threading

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=StopFlag)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_dropout_is_a_function_of_its_counters() -> None:
    def draw(*counters: int) -> list[float]:
        seed_step(*counters)
        return torch.rand(4).tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({tuple(draw(*c)) for c in [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]}) == 4


def test_a_world_of_another_size_is_refused(tmp_path: Path) -> None:
    script = "from pneumo import cli\nfrom pneumo.distributed import join\ncli.run(lambda: join(expect_world=2) and 0)"
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=100, check=False
    )
    assert done.returncode == 2
    assert "1 rank(s) that know of each other; expected 2; start with `accelerate launch --multi_gpu" in done.stderr
    assert "Traceback" not in done.stderr
