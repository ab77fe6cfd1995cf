"""Fold groups, and agreement between real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pneumo.distributed.collectives import Group
from pneumo.distributed.partition import fold_groups


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
    assert group.any_rank(True)
    assert not group.any_rank(False)
    assert group.gather("x") == ["x"]
    assert group.broadcast(3) == 3
    assert torch.equal(group.all_reduce_sum_(torch.ones(2)), torch.ones(2))
    group.barrier()


SCRIPT = """
import torch
from pneumo.distributed.startup import init, shutdown, join_fold_group

def main():
    world = init()
    group, folds = join_fold_group(world, (3, 4))
    value = group.all_reduce_sum_(torch.tensor([world.rank + 1.0])).item()
    # The process that was asked to stop is rank 2 alone.
    stop = group.any_rank(world.rank == 2)
    gathered = group.gather(f"r{world.rank}")
    row = (world.rank, group.rank, group.size, folds, value, stop, gathered, group.broadcast(world.rank))
    every = world.gather(row)
    if world.is_leader:
        for row in every:
            print(*row, sep="|", flush=True)
    shutdown()

main()
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


def test_a_world_of_another_size_is_refused(tmp_path: Path) -> None:
    script = "from pneumo.runtime import cli\nfrom pneumo.distributed.startup import init\n"
    script += "cli.run(lambda: init(expect_world=2) and 0)"
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=100, check=False
    )
    assert done.returncode == 2
    assert "1 rank(s) that know of each other; expected 2; start with `accelerate launch --multi_gpu" in done.stderr
    assert "Traceback" not in done.stderr
