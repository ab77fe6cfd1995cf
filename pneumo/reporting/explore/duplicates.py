"""Images that are there twice: equal bytes, or similar hashes; and where that would mislead training or a score."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pneumo.dataset.table import SampleTable
from pneumo.reporting.explore import hashing
from pneumo.reporting.explore.hashing import Hash

MAX_PAIRS = 10_000
"""Pairs that are kept."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two images that show the same, by their rows of the table."""

    first: int
    second: int
    kind: str
    """``equal bytes``, ``similar`` or ``inverted copy``."""
    distance: int
    """Bits in which the hashes differ; 0 of equal bytes."""
    same_patient: bool
    """Both are known to be of one patient."""
    across_splits: bool
    """One is a training image, the other a test image."""
    across_folds: bool
    """Both are training images, of two folds."""
    across_labels: bool
    """Both are training images, one with a pneumothorax and one without."""
    of_unlabeled: bool = False
    """One is an unlabeled image, the other a training or test image."""


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """All duplicates of a dataset."""

    pairs: Sequence[Pair]
    """Equal bytes first, then by distance; at most ``MAX_PAIRS``. Each further copy of the same bytes is one pair with
    the first of them."""
    limit: int
    """Bits in which the hashes of copies may differ in this dataset."""


def find(table: SampleTable, hashes: Sequence[Hash | None]) -> Duplicates:
    """Find the duplicates among the images of a dataset by their bytes and their hashes, in the order of the table."""
    equal = list(_equal_bytes(table))
    # Of several copies only the first one is compared with other images.
    copies = {second for _, second in equal}
    unique = [None if row in copies else one for row, one in enumerate(hashes)]
    limit = hashing.find_limit(unique)
    similar = hashing.find_similar(unique, limit, most=MAX_PAIRS)
    pairs = [_pair(table, first, second, "equal bytes", 0) for first, second in equal]
    pairs += [
        _pair(table, one.first, one.second, "inverted copy" if one.inverted else "similar", one.distance)
        for one in similar
    ]
    pairs.sort(key=lambda pair: (pair.kind != "equal bytes", pair.distance, pair.first, pair.second))
    return Duplicates(pairs=pairs[:MAX_PAIRS], limit=limit)


def _equal_bytes(table: SampleTable) -> Iterator[tuple[int, int]]:
    rows = defaultdict(list)
    for row, digest in enumerate(table.sha256.tolist()):
        rows[digest].append(row)
    for first, *others in rows.values():
        yield from ((first, other) for other in others)


def _pair(table: SampleTable, first: int, second: int, kind: str, distance: int) -> Pair:
    rows = np.array([first, second])
    both_train = bool((table.split[rows] == "train").all())
    unlabeled = int((table.split[rows] == "unlabeled").sum())
    return Pair(
        first=first,
        second=second,
        kind=kind,
        distance=distance,
        same_patient=bool(table.patient[first] == table.patient[second] >= 0),
        across_splits=not unlabeled and bool(table.split[first] != table.split[second]),
        across_folds=both_train and bool(table.fold[first] != table.fold[second]),
        across_labels=both_train and bool(table.positive[first] != table.positive[second]),
        of_unlabeled=unlabeled == 1,
    )
