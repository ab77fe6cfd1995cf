"""Which ranks train which folds, and when: a plan of waves.

In a wave the W ranks form fold groups. A group is a block of consecutive ranks (which keeps it on one node where
possible), trains its folds one after another, and runs DDP over its own process group. The next wave forms other
groups from the same ranks::

    W = 4, F = 5, M = 4     rank      0   1   2   3
                            wave 1    0   1   2   3     a fold on each rank, without any exchange
                            wave 2    4   4   4   4     the last fold on all ranks: 1.25 units in all

The ranks of a group divide the M micro-batches of a step, so that a step takes as long as the M / size micro-batches,
rounded up, of its busiest rank. One unit is the time of one fold on one rank. The plan is the one that has trained all
folds first, and of several such plans one that exchanges least, with the fewest waves. The exchange itself is counted
as free. A plan in which groups form before a wave has ended is now and then shorter (4 folds of 8 micro-batches on 5
ranks: 7/8 of a unit for 1), and is not looked for.

A rank that would shorten no step joins no group: with M = 4, a third rank leaves two micro-batches to one of the
others. It has no fold, and takes part in what all ranks share, such as the predictions of the ensemble.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


class FoldGroup(NamedTuple):
    """Ranks that train folds together."""

    ranks: range
    folds: tuple[int, ...]
    """In their order."""


Wave = tuple[FoldGroup, ...]
"""Groups that train at the same time."""


@dataclass(frozen=True, kw_only=True)
class WavePlan:
    """Which ranks train which folds, and when."""

    ranks: int
    """Number of ranks."""
    micro_batches: int
    """Micro-batches in a step."""
    largest_group: int
    """Most ranks that can train a fold together."""
    waves: tuple[Wave, ...]
    """One after another; none without folds."""
    trained: tuple[int, ...] = ()
    """Folds that were planned and are left out, since they are trained."""

    @property
    def folds(self) -> list[int]:
        """The folds, in the order in which they are begun."""
        return [fold for wave in self.waves for _, folds in wave for fold in folds]

    @property
    def units(self) -> float:
        """Time until all folds are trained; 1 = one fold on one rank."""
        return sum(max(map(self._micro_batches_in_turn, wave)) for wave in self.waves) / self.micro_batches

    @property
    def efficiency(self) -> float:
        """Share of the ranks' time in which they train, 0 to 1."""
        return len(self.folds) / (self.ranks * self.units) if self.waves else 1.0

    @property
    def idle_ranks(self) -> list[int]:
        """The ranks that train no fold."""
        busy = {rank for wave in self.waves for ranks, _ in wave for rank in ranks}
        return [rank for rank in range(self.ranks) if rank not in busy]

    def without(self, folds: Collection[int]) -> "WavePlan":
        """Return the plan without some folds, which are trained already.

        The others keep their groups: on another number of ranks a fold would end with other roundings, and a run that
        is resumed ends with the bits of one that was never interrupted.
        """
        left = [[FoldGroup(g.ranks, tuple(k for k in g.folds if k not in folds)) for g in wave] for wave in self.waves]
        waves = [tuple(group for group in wave if group.folds) for wave in left]
        trained = tuple(fold for fold in self.folds if fold in folds)
        return replace(self, waves=tuple(wave for wave in waves if wave), trained=trained)

    def _micro_batches_in_turn(self, group: FoldGroup) -> int:
        return len(group.folds) * busiest_share(self.micro_batches, len(group.ranks))


def busiest_share(micro_batches: int, ranks: int) -> int:
    """Return the micro-batches of a step that the busiest rank of a group has."""
    return -(-micro_batches // ranks)


def plan_waves(ranks: int, folds: Sequence[int], micro_batches: int, *, largest_group: int | None = None) -> WavePlan:
    """Return the plan that has trained all folds first.

    Args:
        ranks: Number of ranks W.
        folds: The folds to train, F of them; none are no waves.
        micro_batches: Micro-batches M in a step.
        largest_group: Most ranks that a group may have, where something else than M bounds it.
    """
    largest = min(micro_batches, largest_group or micro_batches)
    shares = {size: busiest_share(micro_batches, size) for size in range(1, min(ranks, largest) + 1)}
    step_times = {size: time for size, time in shares.items() if size == 1 or time < shares[size - 1]}
    waves, begun = [], 0
    for count in _folds_of_waves(ranks, len(folds), step_times):
        waves.append(_form_groups(ranks, folds[begun : begun + count], step_times))
        begun += count
    return WavePlan(ranks=ranks, micro_batches=micro_batches, largest_group=largest, waves=tuple(waves))


def plan_waves_on_gpus(gpus: Sequence[Hashable], folds: Sequence[int], micro_batches: int) -> WavePlan:
    """Return the plan for ranks on GPUs: NCCL cannot connect two ranks of a group that have the same GPU.

    Args:
        gpus: The GPU of each rank; where ranks share GPUs, groups are no larger than the ranks between two of a GPU.
        folds: The folds to train.
        micro_batches: Micro-batches in a step.
    """
    largest, last = len(gpus), dict[Hashable, int]()
    for rank, gpu in enumerate(gpus):
        largest = min(largest, rank - last.get(gpu, rank - largest))
        last[gpu] = rank
    plan = plan_waves(len(gpus), folds, micro_batches, largest_group=largest)
    return _spread(plan, gpus) if largest == 1 else plan


def _spread(plan: WavePlan, gpus: Sequence[Hashable]) -> WavePlan:
    """Give the folds of a plan whose groups have one rank to the first rank of each GPU, then to the second ones."""
    seen = Counter[Hashable]()
    turns = []
    for gpu in gpus:
        turns.append(seen[gpu])
        seen[gpu] += 1
    order = sorted(range(len(gpus)), key=turns.__getitem__)

    def place(group: FoldGroup) -> FoldGroup:
        rank = order[group.ranks.start]
        return FoldGroup(range(rank, rank + 1), group.folds)

    return replace(plan, waves=tuple(tuple(map(place, wave)) for wave in plan.waves))


def _folds_of_waves(ranks: int, folds: int, step_times: Mapping[int, int]) -> tuple[int, ...]:
    """Return how many folds each wave trains: least time, then least exchange, then the fewest waves.

    Args:
        ranks: Number of ranks.
        folds: Number of folds.
        step_times: Time of a step, in micro-batches, for each size a group may have.
    """
    costs = {}
    for count in range(1, folds + 1):
        sizes = _group_sizes(ranks, count, step_times)
        assigned = _assign(range(count), [step_times[size] for size in sizes])
        time = max(len(own) * step_times[size] for own, size in zip(assigned, sizes, strict=True))
        # Gradients that are sent: those of each fold, to each further rank of its group.
        exchange = sum(len(own) * (size - 1) for own, size in zip(assigned, sizes, strict=True))
        costs[count] = time, exchange
    best: list[tuple[int, int, int, tuple[int, ...]]] = [(0, 0, 0, ())]
    for left in range(1, folds + 1):
        options = []
        for count in range(1, left + 1):
            time, exchange, waves, counts = best[left - count]
            options.append((time + costs[count][0], exchange + costs[count][1], waves + 1, (*counts, count)))
        best.append(min(options))
    # The waves of many folds, whose groups are small, come first.
    return tuple(sorted(best[folds][-1], reverse=True))


def _form_groups(ranks: int, folds: Sequence[int], step_times: Mapping[int, int]) -> Wave:
    """Return the groups that train these folds in one wave."""
    sizes = _group_sizes(ranks, len(folds), step_times)
    assigned = _assign(folds, [step_times[size] for size in sizes])
    groups, first = [], 0
    for index, own in enumerate(assigned):
        # The ranks that are left cannot shorten the whole, but some of the folds.
        sizes[index] = max(larger for larger in step_times if larger - sizes[index] <= ranks - sum(sizes))
        groups.append(FoldGroup(range(first, first + sizes[index]), own))
        first += sizes[index]
    return tuple(groups)


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
