"""Timing works in turns."""

from pneumo.bench.timing import time_in_turns


def test_works_take_turns_and_the_first_round_is_not_timed():
    calls = []
    seconds = time_in_turns(
        [lambda: calls.append("a"), lambda: calls.append("b")], 3, prepare=lambda: calls.append("-")
    )
    # One round outside of the time, then three, each begun by the next work.
    assert "".join(calls).replace("-", "") == "ab" + "ab" + "ba" + "ab"
    assert calls[::2] == ["-"] * 8
    assert [len(rounds) for rounds in seconds] == [3, 3]
