"""Which ranks train which folds.

W ranks form fold groups. A group is a block of consecutive ranks (which keeps it on one node where possible), trains
its folds one after another, and runs DDP over its own process group::

    W = 8, F = 5, M = 4     rank    0 1 2 3   4 5   6 7
                            group   0         1     2
                            folds   0, 3, 4   1     2

The ranks of a group divide the M micro-batches of a step, so that a step takes as long as the M / size micro-batches,
rounded up, of its busiest rank. The groups are those that have trained all folds first, and of several such divisions
small ones, which exchange less. The exchange itself is counted as free.

A rank that would shorten no step joins no group: with M = 4, a third rank leaves two micro-batches to one of the
others. It has no fold, and takes part in what all ranks share, such as the predictions of the ensemble.
"""

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from pneumo.runtime.errors import UserError, counted


class FoldGroup(NamedTuple):
    """Ranks that train folds together."""

    ranks: range
    folds: tuple[int, ...]
    """In their order; none for a rank that waits."""


def fold_groups(ranks: int, folds: Sequence[int], micro_batches: int) -> list[FoldGroup]:
    """Return the fold groups, and each rank without a fold as a group of its own.

    Args:
        ranks: Number of ranks W.
        folds: The folds to train, F of them.
        micro_batches: Micro-batches M in a step.
    """
    step_times = {size: -(-micro_batches // size) for size in range(1, min(ranks, micro_batches) + 1)}
    useful = {size: time for size, time in step_times.items() if size == 1 or time < step_times[size - 1]}
    sizes = _group_sizes(ranks, len(folds), useful)
    assigned = _assign(folds, [useful[size] for size in sizes])
    for index, size in enumerate(sizes):
        # The ranks that are left cannot shorten the whole, but some of the folds.
        sizes[index] = max(larger for larger in useful if larger - size <= ranks - sum(sizes))
    groups, first = [], 0
    for size, own in zip(sizes, assigned, strict=True):
        groups.append(FoldGroup(range(first, first + size), own))
        first += size
    return groups + [FoldGroup(range(rank, rank + 1), ()) for rank in range(first, ranks)]


def fold_groups_on_gpus(gpus: Sequence[Hashable], folds: Sequence[int], micro_batches: int) -> list[FoldGroup]:
    """Return the fold groups of ranks on GPUs; NCCL cannot connect two ranks of a group that have the same GPU.

    Ranks that share GPUs train folds of their own, where there are enough folds.

    Args:
        gpus: The GPU of each rank.
        folds: The folds to train.
        micro_batches: Micro-batches in a step.

    Raises:
        UserError: When several ranks of one fold group have the same GPU.
    """
    groups = fold_groups(len(gpus), folds, micro_batches)
    for ranks, _ in groups:
        distinct = len(set(gpus[ranks.start : ranks.stop]))
        if distinct < len(ranks) and len(gpus) > len(folds):
            raise UserError(
                f"ranks {ranks.start} to {ranks.stop - 1} train folds together on {counted(distinct, 'GPU')}",
                "a GPU for each rank of a fold, or at most one rank for each fold",
                "start fewer processes, or more folds; job/launch.py starts one process for each GPU",
            )
        if distinct < len(ranks):
            return fold_groups(len(gpus), folds, micro_batches=1)
    return groups


def _group_sizes(ranks: int, folds: int, step_times: Mapping[int, int]) -> list[int]:
    """Return the sizes of the groups that have trained all folds first, largest first.

    Args:
        ranks: Number of ranks.
        folds: Number of folds.
        step_times: Time of a step, in micro-batches, for each size a group may have.
    """
    times = sorted({count * time for time in step_times.values() for count in range(1, folds + 1)})
    shortest = times[bisect_left(times, True, key=lambda time: sum(_fewest_ranks(time, folds, step_times)) <= ranks)]
    sizes = _fewest_ranks(shortest, folds, step_times)
    smallest = min(size for size, time in step_times.items() if time <= shortest)
    more = min((ranks - sum(sizes)) // smallest, folds - len(sizes))
    return sorted(sizes, reverse=True) + [smallest] * more


def _fewest_ranks(time: int, folds: int, step_times: Mapping[int, int]) -> tuple[int, ...]:
    """Return the sizes of groups that train the folds within a time: the fewest ranks, then the most groups."""
    counts = {size: time // step_time for size, step_time in step_times.items() if step_time <= time}
    best: list[tuple[int, ...]] = [()]
    for remaining in range(1, folds + 1):
        options = [(*best[max(remaining - count, 0)], size) for size, count in counts.items()]
        best.append(min(options, key=lambda sizes: (sum(sizes), -len(sizes))))
    return best[folds]


def _assign(folds: Sequence[int], step_times: Sequence[int]) -> list[tuple[int, ...]]:
    """Give each group a fold, and each further fold to the group that has trained it first."""
    assigned = [[fold] for fold in folds[: len(step_times)]]
    for fold in folds[len(step_times) :]:
        times = [(len(own) + 1) * time for own, time in zip(assigned, step_times, strict=True)]
        assigned[times.index(min(times))].append(fold)
    return [tuple(own) for own in assigned]
