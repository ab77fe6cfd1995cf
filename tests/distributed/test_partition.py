"""Which ranks train which folds, and when."""

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from pneumo.distributed.partition import FoldGroup, WavePlan, busiest_share, plan_waves, plan_waves_on_gpus
from pneumo.training.recipes import RECIPES


def describe(plan: WavePlan) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Return the size and the folds of each group, wave by wave."""
    return [[(len(ranks), folds) for ranks, folds in wave] for wave in plan.waves]


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


def splits(folds: int, most: int) -> Iterator[tuple[int, ...]]:
    """Yield all ways to divide folds among waves, each as the numbers of folds in falling order."""
    if not folds:
        yield ()
    for first in range(1, min(folds, most) + 1):
        for rest in splits(folds - first, first):
            yield (first, *rest)


@pytest.mark.parametrize(("ranks", "share"), [(1, 4), (2, 2), (3, 2), (4, 1)])
def test_the_busiest_rank_has_the_share_that_is_rounded_up(ranks: int, share: int) -> None:
    assert busiest_share(4, ranks) == share


ONE_EACH = [(1, (0,)), (1, (1,)), (1, (2,)), (1, (3,)), (1, (4,))]


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, [[(1, (0, 1, 2, 3, 4))]]),
        (2, [[(1, (0, 2)), (1, (1, 3))], [(2, (4,))]]),
        (3, [[(1, (0, 3)), (1, (1, 4)), (1, (2,))]]),
        (4, [ONE_EACH[:4], [(4, (4,))]]),
        (5, [ONE_EACH]),
        (8, [[(2, (0,)), (2, (1,)), (2, (2,)), (2, (3,))], [(4, (4,))]]),
        (16, [[(4, (0,)), (4, (1,)), (4, (2,)), (2, (3,)), (2, (4,))]]),
        (20, [[(4, (k,)) for k in range(5)]]),
        (32, [[(4, (k,)) for k in range(5)]]),
    ],
)
def test_five_folds_of_four_micro_batches(ranks: int, expected: list[list[tuple[int, tuple[int, ...]]]]) -> None:
    assert describe(plan_waves(ranks, range(5), 4)) == expected


def test_the_units_and_the_efficiency_of_a_plan() -> None:
    four, eight = plan_waves(4, range(5), 4), plan_waves(8, range(5), 4)
    assert (four.units, four.efficiency) == (1.25, 1.0)
    assert (eight.units, eight.efficiency) == (0.75, 5 / (8 * 0.75))
    # Three ranks divide eight micro-batches into 3, 3 and 2: no wave alone is done before 15/8.
    assert plan_waves(3, range(5), 8).units == 14 / 8
    assert plan_waves(32, range(5), 4).idle_ranks == list(range(20, 32))
    assert four.idle_ranks == []
    nothing = plan_waves(4, (), 4)
    assert (nothing.waves, nothing.folds, nothing.units, nothing.efficiency) == ((), [], 0, 1)


def test_the_page_has_the_groups_and_times_of_the_default_recipe() -> None:
    micro_batches = RECIPES["best"]().micro_batches
    page = (Path(__file__).parents[2] / "job" / "README.md").read_text()
    rows = re.search(
        r"^\| processes \|(.*)\|\n.*\n\| groups of \|(.*)\|\n\| time \|(.*)\|\n\| efficiency \|(.*)\|$",
        page,
        re.MULTILINE,
    )
    assert rows is not None
    columns = list(zip(*(row.split("|") for row in rows.groups()), strict=True))
    assert len(columns) == 9
    for processes, sizes, time, efficiency in columns:
        plan = plan_waves(int(processes.split()[0]), range(5), micro_batches)
        waves = [[int(size) for size in wave.split(",")] for wave in sizes.split("then")]
        assert [[size for size, _ in wave] for wave in describe(plan)] == waves
        assert plan.units == float(time)
        assert f"{plan.efficiency:.2f}" == efficiency.strip()


def test_the_folds_keep_their_numbers() -> None:
    plan = plan_waves(3, (7, 2), 1)
    assert plan.waves == (((range(1), (7,)), (range(1, 2), (2,))),)
    assert plan.idle_ranks == [2]
    assert plan_waves(1, (7, 2, 4), 4).folds == [7, 2, 4]


@pytest.mark.parametrize("folds", range(1, 6))
def test_no_other_plan_of_waves_is_done_earlier(folds: int) -> None:
    for ranks, micro_batches in product(range(1, 11), range(1, 9)):
        units = plan_waves(ranks, range(folds), micro_batches).units
        one_wave = {
            n: min(shortest(sizes, n, micro_batches) for sizes in divisions(ranks, n)) for n in range(1, folds + 1)
        }
        every = [sum(one_wave[n] for n in split) for split in splits(folds, folds)]
        assert units == min(every) / micro_batches, (ranks, micro_batches)


@pytest.mark.parametrize("micro_batches", [1, 2, 4, 8, 12])
def test_more_ranks_never_take_longer(micro_batches: int) -> None:
    units = [plan_waves(ranks, range(5), micro_batches).units for ranks in range(1, 65)]
    assert units == sorted(units, reverse=True)
    assert units[0] == 5
    assert units[-1] == max(1, -(-5 * micro_batches // 64)) / micro_batches


@pytest.mark.parametrize("folds", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("micro_batches", [1, 2, 4, 6, 8, 100])
def test_every_fold_is_trained_once_and_no_rank_by_two_groups_at_a_time(folds: int, micro_batches: int) -> None:
    for ranks in range(1, 50):
        plan = plan_waves(ranks, range(folds), micro_batches)
        assert sorted(plan.folds) == list(range(folds))
        time = 0
        for wave in plan.waves:
            used = [rank for of_group, _ in wave for rank in of_group]
            assert used == list(range(len(used)))
            assert len(used) <= ranks
            sizes = [len(of_group) for of_group, _ in wave]
            time += max(step_time(len(of_group), micro_batches) * len(own) for of_group, own in wave)
            for size in sizes:
                assert size == 1 or step_time(size, micro_batches) < step_time(size - 1, micro_batches)
                with_waiting = step_time(size + ranks - len(used), micro_batches)
                assert with_waiting == step_time(size, micro_batches), "the waiting ranks would shorten the steps"
        assert plan.units == time / micro_batches
        busy = {rank for wave in plan.waves for of_group, _ in wave for rank in of_group}
        assert plan.idle_ranks == sorted(set(range(ranks)) - busy)


@pytest.mark.parametrize(("ranks", "micro_batches"), [(4096, 65_536), (1 << 15, 4)])
def test_large_worlds_are_divided(ranks: int, micro_batches: int) -> None:
    plan = plan_waves(ranks, range(20), micro_batches)
    assert ranks - len(plan.idle_ranks) == min(ranks, 20 * micro_batches)


def test_ranks_that_share_a_gpu_train_folds_of_their_own() -> None:
    assert describe(plan_waves_on_gpus("aabb", range(5), 4)) == [[(1, (0, 4)), (1, (1,)), (1, (2,)), (1, (3,))]]
    assert describe(plan_waves_on_gpus("abcd", range(5), 4)) == [ONE_EACH[:4], [(4, (4,))]]
    # Two of each GPU, but no two of one in a group.
    assert describe(plan_waves_on_gpus("abab", range(5), 4)) == [ONE_EACH[:4], [(2, (4,))]]
    assert describe(plan_waves_on_gpus("abab", range(2), 2)) == [[(2, (0,)), (2, (1,))]]
    # One after another on each GPU, and no GPU without a fold.
    assert trainers("aabb", 2) == {0: 0, 1: 2}
    assert trainers("aabb", 3) == {0: 0, 1: 2, 2: 1}
    assert trainers("aaabbb", 5) == {0: 0, 1: 3, 2: 1, 3: 4, 4: 2}
    assert trainers("abab", 2) == {0: 0, 1: 2}
    alone = plan_waves_on_gpus("aa", (0,), 4)
    assert (describe(alone), alone.idle_ranks, alone.largest_group) == ([[(1, (0,))]], [1], 1)


def trainers(gpus: str, folds: int) -> dict[int, int]:
    """Return the first rank that trains each fold, of those on some GPUs."""
    (wave,) = plan_waves_on_gpus(gpus, range(folds), 2).waves
    return {fold: ranks.start for ranks, own in wave for fold in own}


def test_a_plan_without_trained_folds_leaves_the_others_their_groups() -> None:
    plan = plan_waves(4, range(5), 4)
    left = plan.without([0, 2])
    assert left.waves == (
        (FoldGroup(range(1, 2), (1,)), FoldGroup(range(3, 4), (3,))),
        (FoldGroup(range(4), (4,)),),
    )
    assert (left.trained, left.units) == ((0, 2), plan.units)
    assert plan.without([0, 1, 2, 3]).waves == ((FoldGroup(range(4), (4,)),),)
    assert plan.without(range(5)).waves == ()
