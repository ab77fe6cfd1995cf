#!/usr/bin/env python3
"""Train the folds of a recipe, in parallel where there are several processes, and write the submission.

One process, the folds one after another:

    python job/train.py --dataset DATASET --run runs/NAME

Four GPUs (or four processes on a machine without any), the folds side by side:

    accelerate launch --multi_gpu --num_processes 4 job/train.py --dataset DATASET --run runs/NAME

One fold of an array job, whose folds job/ensemble.py brings together:

    python job/train.py --dataset DATASET --run runs/NAME --folds 3

The same command goes on from the run's checkpoints. Exit codes: 0 done, 2 wrong input, 3 stopped on request.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import tyro

from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import PATIENCE_S, join, leave
from pneumo.runtime import checks, cli
from pneumo.runtime.errors import UserError
from pneumo.training.cross_validation import Job, train
from pneumo.training.loop import Options
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import RECIPES


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Flags of job/train.py; every field of the recipe is a flag too."""

    dataset: Path
    """Dataset that job/shard.py wrote."""
    run: Path
    """Run directory, made when it is missing; one that holds the same recipe and dataset is continued."""
    recipe: str = "best"
    """Recipe to start from: debug, demo, seed, winner or best."""
    folds: tuple[int, ...] = ()
    """Folds to train, from 0, and nothing else; none given = all, then the figures and the submission."""
    expected: Path | None = None
    """CSV with the ids, and their order, that the submission must have (Kaggle's sample submission)."""
    workers: int = 0
    """Threads that decode and augment, in each process; 0 = the cores that each process has."""
    checkpoint_every: int = 200
    """Optimiser steps between two checkpoints inside an epoch; 0 = only at the end of epochs."""
    expect_world: int = 0
    """Processes that the launcher was asked for; refuse to run with another number. 0 = do not check."""
    skip_damaged: bool = False
    """Start the run without the training images that cannot be used, after reading every image once; recipe.json
    lists them, the report counts them, and the list stays what it is. Damaged test images get an empty mask.
    Without the flag the first damaged image ends the run."""
    rank_timeout: float = PATIENCE_S
    """Seconds without progress after which a rank is given up; it says where it stood, and its fold group ends."""
    fields: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=Recipe)
    """Fields of the recipe."""

    def __post_init__(self) -> None:
        """Check the numbers that are not the recipe's.

        Raises:
            UserError: Naming the flag, the value found and the values accepted.
        """
        checks.within(
            self,
            folds=(0, 126),
            workers=(0, checks.MOST_WORKERS),
            checkpoint_every=(0, 10**9),
            rank_timeout=(1, checks.WEEK_S),
            expect_world=(0, checks.MOST_RANKS),
        )


def parse(argv: Sequence[str]) -> Arguments:
    """Parse the command line, with the named recipe's values as defaults."""
    pairs = pairwise([*argv, ""])
    named = [word.partition("=")[2] if "=" in word else after for word, after in pairs if _names(word)]
    # Of a flag given twice the last one counts, as everywhere on the command line.
    name = named[-1] if named else "best"
    if name not in RECIPES:
        raise UserError(f"--recipe {name}", f"one of {', '.join(RECIPES)}", "correct --recipe")
    description = (__doc__ or "").strip()
    # The two paths are required on the command line; these values never get through.
    default = Arguments(dataset=tyro.MISSING, run=tyro.MISSING, recipe=name, fields=RECIPES[name]())
    return cli.parse(Arguments, argv, prog="job/train.py", description=description, default=default)


def _names(word: str) -> bool:
    return word == "--recipe" or word.startswith("--recipe=")


def main() -> None:
    """Train."""
    arguments = parse(sys.argv[1:])
    stop = StopFlag()
    world = join(
        precision=arguments.fields.precision,
        expect_world=arguments.expect_world or None,
        patience_s=arguments.rank_timeout,
    )
    workers = arguments.workers or world.cores
    job = Job(
        recipe=replace(arguments.fields, name=arguments.recipe),
        dataset=arguments.dataset,
        run=arguments.run,
        folds=arguments.folds,
        expected=arguments.expected,
        options=Options(checkpoint_every=arguments.checkpoint_every, workers=workers),
        skip_damaged=arguments.skip_damaged,
    )
    train(job, world, stop)
    leave()


if __name__ == "__main__":
    cli.run(main)
