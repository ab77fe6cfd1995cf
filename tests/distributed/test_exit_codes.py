"""One exit code for several ranks."""

import pytest

from pneumo.distributed.exit_codes import combine_exit_codes, describe_exit_code


@pytest.mark.parametrize(
    ("codes", "stop_requested", "combined"),
    [
        ([0, 0], False, 0),
        ([0, 3], False, 3),
        ([1, 3], False, 1),
        ([2, 1, -9], False, 2),
        ([-9, 0], False, 1),
        ([-15, 3], True, 3),
        ([-15, 3], False, 1),
        ([-11, 3], True, 1),
        ([130, 130], True, 3),
        ([130, 0], False, 1),
        ([-1, 3], True, 3),
    ],
)
def test_exit_codes_of_several_ranks_become_one(codes: list[int], stop_requested: bool, combined: int) -> None:
    assert combine_exit_codes(codes, stop_requested=stop_requested) == combined


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (3, "exit code 3 (stopped, state saved)"),
        (7, "exit code 7"),
        (-9, "killed by SIGKILL (often: out of memory)"),
        (-1, "killed by SIGHUP"),
    ],
)
def test_a_code_is_described(code: int, text: str) -> None:
    assert describe_exit_code(code) == text
