"""Which ranks train which folds.

W ranks that train F folds form G = min(W, F) fold groups. A group is a block of consecutive ranks (which keeps it on
one node where possible), trains its folds one after another, and runs DDP over its own process group::

    W = 4, F = 3      rank    0   1   2   3
                      group   0   0   1   2      group g trains folds g, g + G, ...

A group has at most as many ranks as a step has micro-batches. The last ranks of a larger world have no fold: they join
the others for what all ranks share, such as the predictions of the ensemble.
"""

from collections.abc import Sequence

from pneumo.distributed.environment import MAX_RANKS


def fold_groups(ranks: int, folds: Sequence[int], max_size: int = MAX_RANKS) -> list[tuple[range, tuple[int, ...]]]:
    """Return the fold groups: for each its ranks, and the folds that it trains one after another.

    Args:
        ranks: Number of ranks W.
        folds: The folds to train.
        max_size: Largest number of ranks that can share a step.
    """
    groups = min(ranks, len(folds))
    used = min(ranks, groups * max_size)
    starts = [(g * used + groups - 1) // groups for g in range(groups + 1)]
    training = [(range(starts[g], starts[g + 1]), tuple(folds[g::groups])) for g in range(groups)]
    return training + [(range(rank, rank + 1), ()) for rank in range(used, ranks)]
