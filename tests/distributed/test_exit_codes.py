"""One exit code for several ranks."""

import pytest

from pneumo.distributed.exit_codes import combine_exit_codes, describe_exit_code


@pytest.mark.parametrize(
    ("codes", "combined"),
    [
        ([0, 0], 0),
        ([0, 3], 3),
        ([1, 3], 1),
        ([2, 1, -9], 2),
        ([-9, 0], 1),
        ([-15, 3], 3),
        ([-15, 1], 1),
        ([-11, 3], 1),
        ([130, 0], 3),
        ([-1, -10], 3),
        ([143, 0], 1),
    ],
)
def test_exit_codes_of_several_ranks_become_one(codes: list[int], combined: int) -> None:
    assert combine_exit_codes(codes) == combined


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
