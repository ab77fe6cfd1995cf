"""Collectives of a single rank, and between real processes in two fold groups."""

import subprocess
import sys
from pathlib import Path

import torch

from pneumo.distributed.collectives import Group


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
    # Only rank 2 was asked to stop.
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
