"""Train a list of variants on the same folds and seeds, and write one table with their paired differences.

    python job/compare.py --dataset DATASET --variants variants.txt --out runs/comparison

    accelerate launch --multi_gpu --num_processes 4 job/compare.py --dataset DATASET --variants variants.txt --out C

    python job/compare.py --runs runs/A runs/B --out runs/comparison

Each line of the file is a variant: NAME: FLAGS, the flags those of job/train.py's recipe, such as
`dice-all: --recipe best --loss.dice-on all`, and --teacher. The others are compared with the first one, image by image.

The same command goes on where it was stopped; lines and seeds may be added. The table so far is written after each
variant. A variant that differs from an earlier one in --tta or --min-component alone is not trained again. With --runs,
runs that are there already are compared, and nothing is trained; those that differ in the seed alone are one variant.
Exit codes: 0 done, 2 wrong input, 3 stopped on request.
"""

import os
import sys
from dataclasses import field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval, MinLen

from pneumo.distributed.heartbeat import RANK_TIMEOUT_S
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass, invalid_value
from pneumo.runtime.errors import UserError
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.ranges import (
    CheckpointInterval,
    ExpectedWorld,
    FoldIndex,
    Fraction,
    RankTimeout,
    Seed,
    WorkersOrAuto,
)
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags
from pneumo.training.variants import RESULTS, RUNS, Variant, read_variants, run_name


@config_dataclass
class Arguments:
    """Flags of job/compare.py."""

    out: Path
    """Directory of the comparison, created if missing: comparison.json, comparison.md, and the runs. Runs of the same
    recipe and dataset that are there are resumed."""
    dataset: Path | None = None
    """Dataset written by job/shard.py; with --cache-dir also its URL in an object store, such as s3://bucket/siim."""
    variants: Path | None = None
    """Text file with a variant in each line, NAME: FLAGS; the flags are those of a recipe, as of job/train.py."""
    runs: tuple[Path, ...] = ()
    """Runs to compare, in place of --dataset and --variants; the first one is what the others are compared with."""
    folds: tuple[FoldIndex, ...] = ()
    """Folds to train and to score, from 0; none given = all. The thresholds of each are chosen on the others of
    these."""
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0,)
    """Seeds to train each variant with; the scores of each image are averaged over them."""
    workers: WorkersOrAuto = 0
    """Threads that decode and augment in each process; 0 = one for each core that the process may use."""
    images_at_once: Annotated[int, Interval(ge=0, le=65_536)] = 0
    """Images in one forward pass of a training step, as of job/train.py; 0 = choose."""
    checkpoint_minutes: CheckpointInterval = 10.0
    """Minutes between two checkpoints within an epoch; 0 = only at the end of epochs."""
    cache_dir: Path | None = None
    """Directory on a disk of each machine, to which the dataset is copied once, as job/train.py does."""
    cache_share: Fraction = 0.5
    """Largest share of the free memory, or of the free space in --cache-dir, for decoded images. 0 = none."""
    expect_world: ExpectedWorld = 0
    """Expected number of processes; any other number is refused. 0 = do not check."""
    skip_damaged: bool = False
    """Exclude the damaged training images when a run is started, as job/train.py does."""
    rank_timeout: RankTimeout = RANK_TIMEOUT_S
    """Seconds without progress after which a rank reports what it was doing and its fold group ends."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)

    def __post_init__(self) -> None:
        """Check what the ranges do not say.

        Raises:
            UserError: Naming the flag, the value found and the values accepted.
        """
        for name in ("folds", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise invalid_value(name, values, "different numbers")
        if self.runs and (self.dataset or self.variants):
            raise invalid_value("runs", self.runs, "runs that are there, or --dataset and --variants to train some")
        if len({os.path.realpath(path) for path in self.runs}) < len(self.runs) or len(self.runs) == 1:
            raise invalid_value("runs", self.runs, "two different runs or more")
        if not self.runs and not (self.dataset and self.variants):
            raise UserError("neither --runs nor both --dataset and --variants", "what is compared", "give them")


def main() -> None:
    """Parse the command line, and compare runs that are there, or those of the variants."""
    arguments = cli.parse(Arguments, sys.argv[1:], prog="job/compare.py", description=__doc__)
    read = {"--dataset": arguments.dataset, "--variants": arguments.variants, "--runs": arguments.runs}
    check_apart("--out", arguments.out, read, writes=RESULTS if arguments.runs else (*RESULTS, RUNS, "logs"))
    if arguments.dataset and arguments.variants:
        variants = read_variants(arguments.variants)
        # A run of another variant may teach, once it is finished: it is only read then.
        taught = [variant for variant in variants if variant.teacher]
        runs = [f"{RUNS}/{run_name(variant.name, seed)}" for variant in taught for seed in arguments.seeds]
        teachers = [variant.teacher for variant in taught if variant.teacher]
        check_apart("--out", arguments.out, {"--teacher": teachers}, writes=(*RESULTS, *runs, "logs"))
        train_variants(arguments, arguments.dataset, variants)
    else:
        compare_found(arguments)


def train_variants(arguments: Arguments, dataset: Path, variants: tuple[Variant, ...]) -> None:
    """Join the other ranks, train what is not trained yet, and compare."""
    with cli.slow_imports():
        from pneumo.distributed.startup import init, shutdown
        from pneumo.distributed.stopping import StopFlag
        from pneumo.loading.cache_plan import CacheOptions
        from pneumo.training.comparison_inputs import ComparisonInputs
        from pneumo.training.loop import LoopOptions
        from pneumo.training.variant_runs import compare

    stop = StopFlag()
    world = init(
        precision=variants[0].recipe.precision,
        expect_world=arguments.expect_world or None,
        rank_timeout_s=arguments.rank_timeout,
        stop=stop,
    )
    inputs = ComparisonInputs(
        variants=variants,
        seeds=arguments.seeds,
        dataset=dataset,
        out=arguments.out,
        folds=arguments.folds,
        options=LoopOptions(
            checkpoint_minutes=arguments.checkpoint_minutes,
            workers=arguments.workers or world.cores,
            images_at_once=arguments.images_at_once,
            cache=CacheOptions(directory=arguments.cache_dir, share=arguments.cache_share),
        ),
        skip_damaged=arguments.skip_damaged,
    )
    compare(inputs, world, stop)
    shutdown()


def compare_found(arguments: Arguments) -> None:
    """Compare runs that are there; one of several ranks does."""
    with cli.slow_imports():
        from pneumo.distributed.startup import init, shutdown
        from pneumo.training.found_runs import compare_runs

    world = init(expect_world=arguments.expect_world or None, rank_timeout_s=arguments.rank_timeout)
    world.on_leader(lambda: compare_runs(arguments.runs, arguments.folds, arguments.out))
    shutdown()


if __name__ == "__main__":
    cli.run(main, resumes=True)
