"""Which ranks train which folds."""

import pytest

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
@pytest.mark.parametrize("max_size", [1, 2, 4, 100])
def test_every_rank_has_a_group_and_every_fold_is_trained_once(ranks: int, folds: int, max_size: int) -> None:
    groups = fold_groups(ranks, range(folds), max_size)
    assert [rank for r, _ in groups for rank in r] == list(range(ranks))
    assert sorted(fold for _, f in groups for fold in f) == list(range(folds))
    sizes = [len(r) for r, f in groups if f]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max_size
    assert sum(sizes) == min(ranks, len(sizes) * max_size), "no rank is idle that could train"
    assert all(len(r) == 1 for r, f in groups if not f)
