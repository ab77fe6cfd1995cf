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

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from pneumo.distributed.startup import init, shutdown
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import RANK_TIMEOUT_S
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.ranges import ExpectedWorld, FoldIndex, RankTimeout, WorkersOrAuto
from pneumo.training.cross_validation import TrainingInputs, train
from pneumo.training.loop import LoopOptions
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import RECIPES


@config_dataclass
class Arguments:
    """Flags of job/train.py; every field of the recipe is a flag too."""

    dataset: Path
    """Dataset that job/shard.py wrote."""
    run: Path
    """Run directory, made when it is missing; one that holds the same recipe and dataset is continued."""
    recipe: str = "best"
    """Recipe to start from: debug, demo, seed, winner or best."""
    folds: tuple[FoldIndex, ...] = ()
    """Folds to train, from 0, and nothing else; none given = all, then the figures and the submission."""
    expected: Path | None = None
    """CSV with the ids, and their order, that the submission must have (Kaggle's sample submission)."""
    workers: WorkersOrAuto = 0
    """Threads that decode and augment, in each process; 0 = the cores that each process has."""
    checkpoint_every: Annotated[int, Interval(ge=0, le=10**9)] = 200
    """Optimiser steps between two checkpoints inside an epoch; 0 = only at the end of epochs."""
    expect_world: ExpectedWorld = 0
    """Processes that the launcher was asked for; refuse to run with another number. 0 = do not check."""
    skip_damaged: bool = False
    """Start the run without the training images that cannot be used, after reading every image once; recipe.json
    lists them, the report counts them, and the list stays what it is. Damaged test images get an empty mask.
    Without the flag the first damaged image ends the run."""
    rank_timeout: RankTimeout = RANK_TIMEOUT_S
    """Seconds without progress after which a rank is given up; it says where it stood, and its fold group ends."""


def parse(argv: Sequence[str]) -> tuple[Arguments, Recipe]:
    """Parse the command line, with the named recipe's values as the defaults of the recipe's flags."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default=Arguments.recipe)
    name = first.parse_known_args(argv)[0].recipe
    if name not in RECIPES:
        raise UserError(f"--recipe {name}", f"one of {', '.join(RECIPES)}", "correct --recipe")

    def both(
        arguments: Annotated[Arguments, tyro.conf.arg(name="")],
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = RECIPES[name](),  # noqa: B008 (tyro reads the default)
    ) -> tuple[Arguments, Recipe]:
        return arguments, recipe

    return cli.parse(both, argv, prog="job/train.py", description=(__doc__ or "").strip())


def main() -> None:
    """Train."""
    arguments, recipe = parse(sys.argv[1:])
    stop = StopFlag()
    world = init(
        precision=recipe.precision,
        expect_world=arguments.expect_world or None,
        rank_timeout_s=arguments.rank_timeout,
    )
    workers = arguments.workers or world.cores
    job = TrainingInputs(
        recipe=recipe,
        dataset=arguments.dataset,
        run=arguments.run,
        folds=arguments.folds,
        expected=arguments.expected,
        options=LoopOptions(checkpoint_every=arguments.checkpoint_every, workers=workers),
        skip_damaged=arguments.skip_damaged,
    )
    train(job, world, stop)
    shutdown()


if __name__ == "__main__":
    cli.run(main)
