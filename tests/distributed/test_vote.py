"""Flags that ranks agree on one step later, without waiting for each other."""

import torch
from rank_programs import Ended

from pneumo.distributed.collectives import Group
from pneumo.distributed.vote import Vote
from pneumo.runtime.errors import ExitCode


def test_flags_of_a_single_rank_count_at_once() -> None:
    vote = Vote(Group(rank=0, size=1, device=torch.device("cpu")), 2)
    assert vote.cast(True, False) == [True, False]
    assert vote.settle() == [False, False]
    assert vote.cast(False, True) == [False, True]


def test_ranks_agree_on_the_flags_of_the_step_before_without_waiting(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["vote"]
    assert codes == [0, 0], output
    none = [False, False]
    # Of the first vote; rank 1 asks for the first flag in the second, and rank 0 for the second one in the third.
    seen = [none, none, [True, False], [False, True], none, none]
    assert output.splitlines() == [str(seen)] * 2


def test_a_voter_that_is_lost_is_named(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["lost voter"]
    assert codes == [ExitCode.BUG, -9], output
    assert "rank 1 no longer responds, and this rank depends on it" in output
    assert "its last known activity: step 2" in output
