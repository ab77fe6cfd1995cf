"""Which ranks train which folds."""

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from pneumo.distributed.partition import FoldGroup, fold_groups, fold_groups_on_gpus
from pneumo.runtime.errors import UserError
from pneumo.training.recipes import RECIPES


def describe(groups: list[FoldGroup]) -> list[tuple[int, tuple[int, ...]]]:
    """Return the size and the folds of each group that trains."""
    return [(len(ranks), folds) for ranks, folds in groups if folds]


def step_time(size: int, micro_batches: int) -> int:
    """Return how many micro-batches the busiest rank of a group has."""
    return max(len(range(rank, micro_batches, size)) for rank in range(size))


def divisions(ranks: int, most_groups: int) -> Iterator[tuple[int, ...]]:
    """Yield all ways to make at most so many groups of at most so many ranks, each as the sizes in falling order."""
    yield ()
    if most_groups:
        for first in range(1, ranks + 1):
            for rest in divisions(ranks - first, most_groups - 1):
                if not rest or rest[0] <= first:
                    yield (first, *rest)


@cache
def shortest(sizes: tuple[int, ...], folds: int, micro_batches: int) -> int:
    """Return the shortest time for the folds, of all ways to divide them among the groups."""
    if not folds:
        return 0
    if not sizes:
        return 10**9
    time, rest = step_time(sizes[0], micro_batches), sizes[1:]
    return min(max(n * time, shortest(rest, folds - n, micro_batches)) for n in range(folds + 1))


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, [(1, (0, 1, 2, 3, 4))]),
        (2, [(2, (0, 1, 2, 3, 4))]),
        (3, [(1, (0, 3)), (1, (1, 4)), (1, (2,))]),
        (4, [(4, (0, 1, 2, 3, 4))]),
        (5, [(1, (0,)), (1, (1,)), (1, (2,)), (1, (3,)), (1, (4,))]),
        (8, [(4, (0, 3, 4)), (2, (1,)), (2, (2,))]),
        (16, [(4, (0,)), (4, (1,)), (4, (2,)), (2, (3,)), (2, (4,))]),
        (20, [(4, (k,)) for k in range(5)]),
        (32, [(4, (k,)) for k in range(5)]),
    ],
)
def test_five_folds_of_four_micro_batches(ranks: int, expected: list[tuple[int, tuple[int, ...]]]) -> None:
    assert describe(fold_groups(ranks, range(5), 4)) == expected


def test_the_page_has_the_groups_and_times_of_the_default_recipe() -> None:
    micro_batches = RECIPES["best"]().micro_batches
    page = (Path(__file__).parents[2] / "job" / "README.md").read_text()
    rows = re.search(r"^\| processes \|(.*)\|\n.*\n\| groups of \|(.*)\|\n\| time \|(.*)\|$", page, re.MULTILINE)
    assert rows is not None
    columns = list(zip(*(row.split("|") for row in rows.groups()), strict=True))
    assert len(columns) == 9
    for processes, sizes, time in columns:
        ours = describe(fold_groups(int(processes.split()[0]), range(5), micro_batches))
        assert [size for size, _ in ours] == [int(size) for size in sizes.split(",")]
        assert max(len(own) * step_time(size, micro_batches) / micro_batches for size, own in ours) == float(time)


def test_the_folds_keep_their_numbers() -> None:
    assert fold_groups(3, (7, 2), 1) == [(range(1), (7,)), (range(1, 2), (2,)), (range(2, 3), ())]


@pytest.mark.parametrize("folds", range(1, 6))
def test_no_other_groups_are_done_earlier(folds: int) -> None:
    for ranks, micro_batches in product(range(1, 11), range(1, 9)):
        ours = describe(fold_groups(ranks, range(folds), micro_batches))
        time = max(len(own) * step_time(size, micro_batches) for size, own in ours)
        times = {sizes: shortest(sizes, folds, micro_batches) for sizes in divisions(ranks, folds)}
        assert time == min(times.values()), (ranks, ours)


@pytest.mark.parametrize("folds", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("micro_batches", [1, 2, 4, 6, 8, 100])
def test_every_rank_has_a_group_and_every_fold_is_trained_once(folds: int, micro_batches: int) -> None:
    for ranks in range(1, 50):
        groups = fold_groups(ranks, range(folds), micro_batches)
        assert [rank for of_group, _ in groups for rank in of_group] == list(range(ranks))
        assert sorted(fold for _, own in groups for fold in own) == list(range(folds))
        sizes = [len(of_group) for of_group, own in groups if own]
        waiting = [len(of_group) for of_group, own in groups[len(sizes) :]]
        assert waiting == [1] * len(waiting)
        for size in sizes:
            assert size == 1 or step_time(size, micro_batches) < step_time(size - 1, micro_batches)
            with_waiting = step_time(size + len(waiting), micro_batches)
            assert with_waiting == step_time(size, micro_batches), "the waiting ranks would shorten the group's steps"


@pytest.mark.parametrize(("ranks", "micro_batches"), [(4096, 65_536), (1 << 15, 4)])
def test_large_worlds_are_divided(ranks: int, micro_batches: int) -> None:
    groups = fold_groups(ranks, range(20), micro_batches)
    assert sum(len(of_group) for of_group, own in groups if own) == min(ranks, 20 * micro_batches)


def test_ranks_that_share_a_gpu_train_folds_of_their_own() -> None:
    assert describe(fold_groups_on_gpus("aabb", range(5), 4)) == [(1, (0, 4)), (1, (1,)), (1, (2,)), (1, (3,))]
    assert describe(fold_groups_on_gpus("abcd", range(5), 4)) == [(4, (0, 1, 2, 3, 4))]
    # Two of each GPU, but no two of one in a group.
    assert describe(fold_groups_on_gpus("abab", range(2), 2)) == [(2, (0,)), (2, (1,))]
    with pytest.raises(UserError, match=r"^ranks 0 to 1 train folds together on 1 GPU; expected a GPU"):
        fold_groups_on_gpus("aabb", range(2), 2)
