"""Time of five folds on 1 to 64 ranks by the plan of waves: computed, nothing is measured.

The baseline is what is usual where folds are trained in parallel: each on one rank, the others when one is free. Times
are in units of one fold on one rank, and the exchange of gradients is counted as free.

``python -m pneumo.bench.folds`` prints the table for every number of ranks.
"""

import sys
from collections.abc import Iterator

from pneumo.bench.comparison import Comparison
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.distributed.partition import WavePlan, plan_waves
from pneumo.training.recipes import best

FOLDS = 5
MOST_RANKS = 64
ROWS = (2, 3, 4, 5, 8, 10, 16, 20, 64)
"""Numbers of ranks in the benchmark's table."""


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Compare the plan's time with that of one fold on a rank at a time."""
    return [compare(ranks) for ranks in ROWS]


def compare(ranks: int) -> Comparison:
    """Compare the times of five folds of the recipe ``best``."""
    plan = plan_folds(ranks)
    theirs = float(-(-FOLDS // ranks))
    ratio = theirs / plan.units
    return Comparison(
        part="folds",
        what=f"{FOLDS} folds on {ranks} ranks, efficiency {plan.efficiency:.2f} (computed)",
        baseline="each fold on one rank",
        unit="folds' time",
        ours=plan.units,
        theirs=theirs,
        ratio=ratio,
        lowest=ratio,
        highest=ratio,
    )


def plan_folds(ranks: int) -> WavePlan:
    """Return the plan of five folds of the recipe ``best``."""
    return plan_waves(ranks, range(FOLDS), best().micro_batches)


def table() -> Iterator[str]:
    """Yield the lines of a Markdown table; ranks that change nothing but the efficiency share a row."""
    yield "| ranks | waves of groups | time | each fold on one rank | efficiency |"
    yield "|---|---|---|---|---|"
    first = 1
    for ranks in range(1, MOST_RANKS + 1):
        plan = plan_folds(ranks)
        if ranks < MOST_RANKS and _sizes(plan) == _sizes(plan_folds(ranks + 1)):
            continue
        of = f"{first}" if first == ranks else f"{first}-{ranks}"
        efficiencies = dict.fromkeys(f"{plan_folds(number).efficiency:.2f}" for number in (first, ranks))
        alone = -(-FOLDS // ranks)
        yield f"| {of} | {_sizes(plan)} | {plan.units:.4g} | {alone} | {'-'.join(efficiencies)} |"
        first = ranks + 1


def _sizes(plan: WavePlan) -> str:
    return " then ".join(", ".join(str(len(ranks)) for ranks, _ in wave) for wave in plan.waves)


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
