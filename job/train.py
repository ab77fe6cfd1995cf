"""Train the folds of a recipe, in parallel where there are several processes, and write the submission.

One process trains the folds one after another:

    python job/train.py --dataset DATASET --run runs/NAME

Four GPUs, or four processes on a machine without any, train them in parallel:

    accelerate launch --multi_gpu --num_processes 4 job/train.py --dataset DATASET --run runs/NAME

An element of an array job trains one fold; job/ensemble.py combines them afterwards:

    python job/train.py --dataset DATASET --run runs/NAME --folds 1

The same command resumes from the run's checkpoints. Exit codes: 0 done, 2 wrong input, 3 stopped on request.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Interval

from pneumo.distributed.heartbeat import RANK_TIMEOUT_S
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.ranges import CheckpointInterval, ExpectedWorld, FoldIndex, Fraction, RankTimeout, WorkersOrAuto
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags
from pneumo.training import recipe_flags, run_directory
from pneumo.training.blends import BLENDS
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import RECIPES

if TYPE_CHECKING:  # for torch, which is imported when the words are known to be right
    from pneumo.distributed.stopping import StopFlag
    from pneumo.distributed.world import World
    from pneumo.training.inputs import TrainingInputs

RENAMED_FLAGS = recipe_flags.RENAMED_FLAGS | {"--checkpoint-every": "--checkpoint-minutes"}
"""Flags of version 0.1, and what replaced them; CHANGELOG.md has the same table."""

MISTAKEN_FLAGS = recipe_flags.MISTAKEN_FLAGS | {
    "--num-folds": "--num-folds of job/shard.py, which divides the dataset; --folds 0 1 here trains two of its folds",
    "--gpus": "a process for each GPU: accelerate launch --multi_gpu --num_processes 2 job/train.py",
    "--resume": "the same command again, which resumes by itself",
    "--out": "--run",
}
"""Flags that people try, and what they mean."""


@config_dataclass
class Arguments:
    """Flags of job/train.py beside those of the recipe's fields."""

    dataset: Path
    """Dataset written by job/shard.py; with --cache-dir also its URL in an object store, such as s3://bucket/siim."""
    run: Path
    """Run directory, created if missing; a run of the same recipe and dataset is resumed."""
    recipe: Annotated[
        str,
        tyro.conf.arg(
            help=f"Named recipe with the defaults of the recipe's flags: {', '.join(RECIPES)}; or a blend, whose"
            f" recipes are trained one by one, each in a directory of its own, and averaged: {', '.join(BLENDS)}."
        ),
    ] = recipe_flags.DEFAULT
    folds: tuple[FoldIndex, ...] = ()
    """Folds to train, from 0, and nothing else; none given = all, followed by the metrics and the submission."""
    teacher: Path | None = None
    """Finished run with the same labeled images in the same folds, whose network of each fold labels the unlabeled
    images of the dataset for that fold; needs --pseudo-labels.share. None = unlabeled images are not used."""
    expected: Path | None = None
    """CSV with the ids that the submission must have, in their order (Kaggle's sample submission)."""
    workers: WorkersOrAuto = 0
    """Threads that decode and augment in each process; 0 = one for each core that the process may use."""
    images_at_once: Annotated[int, Interval(ge=0, le=65_536)] = 0
    """Images in one forward pass of a training step, a multiple of --micro-batch-size, over which batch normalization
    still averages: the result is the same within rounding. 0 = the micro-batch on a CPU, and on a GPU as many of a
    step's micro-batches as keep it busy and its memory holds."""
    checkpoint_minutes: CheckpointInterval = 10.0
    """Minutes between two checkpoints within an epoch; 0 = only at the end of epochs."""
    cache_dir: Path | None = None
    """Directory on a disk of each machine, for what is read often. The dataset is copied there once, unless it is on
    that disk, and the copy stays for later starts; the ranks of a machine keep decoded images there together, in a
    file that disappears with them. None = the dataset is read where it is, and decoded images are in the memory of
    each rank."""
    cache_share: Fraction = 0.5
    """Largest share of the free memory, or of the free space in --cache-dir, for decoded images, which the OpenCV
    loader decodes only once then; as many as fit are kept. The result is the same. 0 = none."""
    expect_world: ExpectedWorld = 0
    """Expected number of processes; any other number is refused. 0 = do not check."""
    skip_damaged: bool = False
    """Read every image once when the run is started, and exclude the damaged training images: recipe.json lists
    them, the report counts them, and the list never changes. Damaged test images get an empty mask. Without the flag
    the first damaged image ends the run."""
    rank_timeout: RankTimeout = RANK_TIMEOUT_S
    """Seconds without progress after which a rank reports what it was doing and its fold group ends."""
    dry_run: bool = False
    """Print the plan and end: folds, groups of ranks, steps, and the time and memory that a few real steps on this
    machine took. Nothing is written. Started as one process, it plans for --expect-world ranks."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)


def parse(argv: Sequence[str], member: str = "") -> tuple[Arguments, Recipe]:
    """Parse the command line, with the named recipe's values as the defaults of the recipe's flags.

    Args:
        argv: The words behind the command.
        member: Recipe of a blend's member; by default its first one stands for all.
    """
    name = recipe_flags.recipe_name(argv)
    if name in BLENDS:
        named = RECIPES[member or BLENDS[name]()[0].recipe]()
    else:
        named = recipe_flags.named_recipe(argv, also=tuple(BLENDS))

    def both(
        arguments: Annotated[Arguments, tyro.conf.arg(name="")],
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = named,
    ) -> tuple[Arguments, Recipe]:
        return arguments, recipe

    return cli.parse(
        both, argv, prog="job/train.py", description=__doc__, renamed=RENAMED_FLAGS, mistaken=MISTAKEN_FLAGS
    )


def main() -> None:
    """Parse the command line, join the other ranks, and train."""
    arguments, recipe = parse(sys.argv[1:])
    check_apart(
        "--run",
        arguments.run,
        {"--dataset": arguments.dataset, "--expected": arguments.expected, "--teacher": arguments.teacher},
        writes=run_directory.written_names(),
    )
    with cli.slow_imports():
        from pneumo.distributed.startup import shutdown
        from pneumo.distributed.stopping import StopFlag, exiting_on_signals
        from pneumo.modeling import encoders
        from pneumo.training.blended_runs import train_blend
        from pneumo.training.cross_validation import train
        from pneumo.training.dry_run import dry_run

    blend = BLENDS[arguments.recipe]() if arguments.recipe in BLENDS else ()
    recipes = {arguments.run / each.recipe: parse(sys.argv[1:], each.recipe)[1] for each in blend}
    recipes = recipes or {arguments.run: recipe}
    for each in recipes.values():
        encoders.validate(each.model.encoder)
    if arguments.dry_run:
        # Nothing is to be saved.
        with exiting_on_signals():
            world = join(arguments, recipe, None)
            ranks = arguments.expect_world if world.size == 1 and arguments.expect_world else world.size
            for inputs in training_inputs(arguments, recipes, world):
                dry_run(inputs, world, ranks)
    else:
        stop = StopFlag()
        world = join(arguments, recipe, stop)
        members = training_inputs(arguments, recipes, world)
        if blend:
            train_blend(arguments.run, members, [each.weight for each in blend], world, stop)
        else:
            train(members[0], world, stop)
    shutdown()


def join(arguments: Arguments, recipe: Recipe, stop: "StopFlag | None") -> "World":
    """Join the other ranks."""
    from pneumo.distributed.startup import init

    return init(
        precision=recipe.precision,
        # A plan may be for more ranks than were started.
        expect_world=None if arguments.dry_run else arguments.expect_world or None,
        rank_timeout_s=arguments.rank_timeout,
        stop=stop,
    )


def training_inputs(arguments: Arguments, recipes: "Mapping[Path, Recipe]", world: "World") -> "list[TrainingInputs]":
    """Return what is trained with the other ranks: a recipe in each run directory."""
    from pneumo.loading.cache_plan import CacheOptions
    from pneumo.training.inputs import TrainingInputs
    from pneumo.training.loop import LoopOptions

    options = LoopOptions(
        checkpoint_minutes=arguments.checkpoint_minutes,
        workers=arguments.workers or world.cores,
        images_at_once=arguments.images_at_once,
        cache=CacheOptions(directory=arguments.cache_dir, share=arguments.cache_share),
    )
    return [
        TrainingInputs(
            recipe=recipe,
            dataset=arguments.dataset,
            run=run,
            folds=arguments.folds,
            expected=arguments.expected,
            teacher=arguments.teacher,
            options=options,
            skip_damaged=arguments.skip_damaged,
        )
        for run, recipe in recipes.items()
    ]


if __name__ == "__main__":
    cli.run(main, resumes=True)
