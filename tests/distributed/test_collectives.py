"""Collectives of a single rank, and between real processes in two fold groups."""

from typing import cast

import pytest
import torch
from rank_programs import Ended

from pneumo.distributed.collectives import Group
from pneumo.distributed.heartbeat import HEARTBEAT


def test_one_rank_needs_no_process_group() -> None:
    group = Group(rank=0, size=1, device=torch.device("cpu"))
    assert group.is_leader
    assert group.any_rank(True)
    assert not group.any_rank(False)
    assert group.largest(2.5) == 2.5
    assert group.gather("x") == ["x"]
    assert group.broadcast(3) == 3
    assert group.on_leader(lambda: 4) == 4
    assert torch.equal(group.all_reduce_sum_(torch.ones(2)), torch.ones(2))
    group.barrier()


def test_four_processes_in_two_groups_agree_among_themselves(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["collectives"]
    assert codes == [0] * 4, output
    assert output.splitlines() == [
        "0|0|2|(3,)|3.0|False|['r0', 'r1']|0|result of 0",
        "1|1|2|(3,)|3.0|False|[]|0|result of 0",
        "2|0|2|(4,)|7.0|True|['r2', 'r3']|2|rank 2; expected rank 0; be it",
        "3|1|2|(4,)|7.0|True|[]|2|rank 2; expected rank 0; be it",
    ]


@pytest.mark.parametrize(("size", "device", "depth"), [(2, "cuda", 1), (1, "cuda", 0), (2, "cpu", 0)])
def test_reading_a_result_counts_as_waiting_in_a_group_on_gpus(size: int, device: str, depth: int) -> None:
    class Result:
        def cpu(self) -> int:
            return HEARTBEAT.wait_depth

    group = Group(rank=0, size=size, device=torch.device(device))
    assert group.to_host(cast("torch.Tensor", Result())) == depth
    assert HEARTBEAT.wait_depth == 0
