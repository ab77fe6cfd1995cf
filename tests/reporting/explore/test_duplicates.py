"""Duplicates: equal bytes, similar hashes, and where the two images of a pair are."""

import numpy as np
import pytest
from explore_data import make_table

from pneumo.reporting.explore import duplicates
from pneumo.reporting.explore.hashing import BITS, Hash


def hashes(number: int) -> list[Hash | None]:
    rng = np.random.default_rng(0)
    return [rng.random(BITS) < 0.5 for _ in range(number)]


def test_equal_bytes_are_pairs_with_the_first_copy_and_come_first() -> None:
    table = make_table(6, sha256=["a", "b", "a", "c", "a", "d"])
    found = hashes(6)
    found[4] = found[2] = found[0]
    found[5] = found[3]
    pairs = duplicates.find(table, found).pairs
    assert [(one.first, one.second, one.kind) for one in pairs] == [
        (0, 2, "equal bytes"),
        (0, 4, "equal bytes"),
        (3, 5, "similar"),
    ]


def test_a_pair_knows_where_it_misleads() -> None:
    table = make_table(
        8,
        split=["train"] * 6 + ["test"] * 2,
        fold=[0, 1, 0, 0, 1, 1, -1, -1],
        positive=[True, True, True, False, False, False, False, False],
        patient=[7, 7, 1, 2, -1, -1, -1, 3],
    )
    found = hashes(8)
    for copy, source in ((1, 0), (3, 2), (7, 5)):
        found[copy] = found[source]
    names = ("same_patient", "across_folds", "across_labels", "across_splits")
    flags = {
        (one.first, one.second): {name for name in names if getattr(one, name)}
        for one in duplicates.find(table, found).pairs
    }
    assert flags == {(0, 1): {"same_patient", "across_folds"}, (2, 3): {"across_labels"}, (5, 7): {"across_splits"}}


def test_a_copy_of_an_unlabeled_image_is_no_pair_across_the_splits() -> None:
    table = make_table(4, split=["train", "test", "unlabeled", "unlabeled"], fold=[0, -1, -1, -1])
    found = [hashes(1)[0], *hashes(3)[1:], None]
    found[2], found[3] = found[0], found[1]
    pairs = {(one.first, one.second): one for one in duplicates.find(table, found).pairs}
    assert set(pairs) == {(0, 2), (1, 3)}
    assert all(one.of_unlabeled and not one.across_splits for one in pairs.values())


def test_pairs_are_sorted_by_distance_and_their_number_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hashes(5)
    for copy, flipped in ((1, 3), (4, 1)):
        copied = found[copy - 1].copy()  # type: ignore[union-attr]
        copied[:flipped] ^= True
        found[copy] = copied
    pairs = duplicates.find(make_table(5), found).pairs
    assert [(one.first, one.distance) for one in pairs] == [(3, 1), (0, 3)]
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 1)
    assert len(duplicates.find(make_table(5), found).pairs) == 1
