"""Small recipes, and stop requests at chosen steps, for the tests that train."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.heartbeat import HEARTBEAT
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import World
from pneumo.training import run_start
from pneumo.training.fold_data import FoldData
from pneumo.training.inputs import TrainingInputs
from pneumo.training.loop import FoldTrainer, LoopOptions
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import RECIPES
from pneumo.training.run_directory import DatasetIdentity, FoldDirectory

OPTIONS = LoopOptions(checkpoint_minutes=0, workers=1)
TINY = "tu-test_efficientnet"
"""The smallest encoder of timm, which its own tests use: seven times faster than resnet18."""
TINY_DECODER = (16, 16, 16, 16, 16)
"""Channels, as few as scSE takes: with the usual ones the decoder is two thirds of the work."""


class Never(StopFlag):
    """Never asks to stop, and leaves pytest's signal handlers as they are."""

    def __init__(self) -> None:
        self.signal_name = ""
        self._raises_during = ""


class AfterSteps(Never):
    """Asks to stop once a number of optimizer steps are done; it is read after each step, and in validations."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def __bool__(self) -> bool:
        self.steps -= bool(re.search(r"step \d+ of", HEARTBEAT.activity))
        self.signal_name = "SIGTERM" if self.steps <= 0 else ""
        return bool(self.signal_name)


class During(Never):
    """Asks to stop at the n-th reading during an activity."""

    def __init__(self, activity: str, reading: int) -> None:
        super().__init__()
        self.activity, self.reading = activity, reading

    def __bool__(self) -> bool:
        self.reading -= self.activity in HEARTBEAT.activity
        self.signal_name = "SIGTERM" if self.reading <= 0 else ""
        return bool(self.signal_name)


def shrunk(name: str) -> Recipe:
    """Return a named recipe with a small network, tiny images and one epoch."""
    recipe = RECIPES[name]()
    tiny = replace(recipe.model, encoder=TINY, encoder_weights="none", decoder_channels=TINY_DECODER)
    return replace(
        recipe,
        model=tiny,
        epochs=(1,),
        image_size=(32,),
        crop_size=(),
        best_checkpoints=1,
        batch_size=4,
        micro_batch_size=2,
        learning_rate=(1e-3,),
    )


def training(recipe: Recipe, dataset: Path, run: Path) -> TrainingInputs:
    """Return the inputs that train all folds of a dataset."""
    return TrainingInputs(recipe=recipe, dataset=dataset, run=run, folds=(), expected=None, options=OPTIONS)


TWO_EPOCHS = replace(shrunk("debug"), epochs=(2,))
IDENTITY = DatasetIdentity(digest="a" * 64, folds_digest="b" * 64, num_folds=2, grouped_by="dicom", patients=9)


def make_trainer(
    run: Path,
    dataset: Path,
    world: World,
    recipe: Recipe,
    stop: StopFlag | None = None,
    *,
    checkpoint_minutes: float = 0,
) -> FoldTrainer:
    """Make the trainer of fold 0 in a run."""
    reader = ShardReader(dataset, SampleTable.read(dataset))
    directory = run_start.create(run, recipe, IDENTITY).fold(0)
    return FoldTrainer(
        recipe,
        0,
        FoldData.of(reader, 0, num_folds=2),
        world=world,
        group=world,
        directory=directory,
        stop=Never() if stop is None else stop,
        options=replace(OPTIONS, checkpoint_minutes=checkpoint_minutes),
    )


def train_fold(
    run: Path, dataset: Path, world: World, recipe: Recipe, *arguments: Any, **options: Any
) -> FoldDirectory:
    """Train fold 0 in a run; return its directory."""
    trainer = make_trainer(run, dataset, world, recipe, *arguments, **options)
    trainer.run()
    return trainer.directory
