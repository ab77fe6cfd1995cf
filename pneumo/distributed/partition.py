"""Which ranks train which folds.

W ranks that train F folds form G = min(W, F) fold groups. A group is a block of consecutive ranks (which keeps it on
one node where possible), trains its folds one after another, and runs DDP over its own process group::

    W = 4, F = 3      rank    0   1   2   3
                      group   0   0   1   2      group g trains folds g, g + G, ...
"""

from collections.abc import Sequence


def fold_groups(ranks: int, folds: Sequence[int]) -> list[tuple[range, tuple[int, ...]]]:
    """Return the fold groups: for each its ranks, and the folds that it trains one after another.

    Args:
        ranks: Number of ranks W.
        folds: The folds to train.
    """
    groups = min(ranks, len(folds))
    starts = [(g * ranks + groups - 1) // groups for g in range(groups + 1)]
    return [(range(starts[g], starts[g + 1]), tuple(folds[g::groups])) for g in range(groups)]
