"""What a training is given, and what is checked before any image is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumo.dataset import unlabeled
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable
from pneumo.masks import annotations, rle, submission
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted, list_some
from pneumo.training.loop import LoopOptions
from pneumo.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """The recipe, the dataset and the run directory of a training command."""

    recipe: Recipe
    dataset: Path
    run: Path
    folds: tuple[int, ...]
    """Folds to train, and nothing else; empty = all of the dataset's, followed by the metrics and the submission."""
    expected: Path | None
    """CSV with the ids that the submission must have, and their order."""
    options: LoopOptions
    skip_damaged: bool = False
    """Exclude the damaged training images when the run is started."""
    teacher: Path | None = None
    """The run that labels the unlabeled images."""

    def __post_init__(self) -> None:
        """Check the options that depend on the recipe.

        Raises:
            UserError: Naming the flag, the value found and the values accepted.
        """
        at_once, unit = self.options.images_at_once, self.recipe.micro_batch_size
        if at_once % unit:
            raise UserError(
                f"--images-at-once {at_once}",
                f"a multiple of --micro-batch-size {unit}",
                "correct it, or leave it out",
            )
        share = self.recipe.pseudo_labels.share
        if self.teacher is None and share:
            raise UserError(f"--pseudo-labels.share {share:g} without --teacher", "a run that labels", "give --teacher")
        if self.teacher is not None and not share:
            raise UserError(
                f"--teacher {self.teacher} without --pseudo-labels.share",
                "the share of an epoch's images that it labels",
                "give --pseudo-labels.share 0.2, for example",
            )


def check_folds(folds: Sequence[int], manifest: Manifest, table: SampleTable) -> tuple[int, ...]:
    """Return the folds to train: those that are asked for, or all.

    Raises:
        UserError: When there is nothing to train on, a fold is empty, or there is no such fold.
    """
    if manifest.train == 0:
        raise UserError(
            "the dataset has no labeled images",
            "images with masks",
            "build it with --dicom and --masks, see job/shard.py",
        )
    empty = [f for f in range(manifest.num_folds) if not len(table.select("train", {f}))]
    if empty:
        raise UserError(
            f"folds of the dataset without images: {list_some(map(str, empty))} ("
            f"{counted(manifest.patients, 'patient')},"
            f" {counted(manifest.train - len(table.select('train')), 'damaged image')} excluded)",
            "at least one patient in each fold",
            "divide the dataset into fewer folds with job/shard.py --num-folds",
        )
    wrong = [f for f in folds if not 0 <= f < manifest.num_folds]
    if wrong or len(set(folds)) != len(folds):
        raise UserError(
            f"--folds {' '.join(map(str, folds))}",
            f"different numbers from 0 to {manifest.num_folds - 1}",
            "correct --folds, or divide the dataset again with job/shard.py --num-folds",
        )
    return tuple(folds) or tuple(range(manifest.num_folds))


def check_unlabeled(recipe: Recipe, table: SampleTable, folds: Sequence[int]) -> None:
    """Refuse a recipe that learns from unlabeled images where one of the folds has none.

    Args:
        recipe: The recipe.
        table: The dataset's table, without excluded images.
        folds: Folds to be trained.

    Raises:
        UserError: With the number of images that there are.
    """
    wanted = f"--consistency.images {recipe.consistency.images}"
    if not recipe.consistency.images:
        return
    count = len(table.select("unlabeled"))
    if not count:
        raise UserError(
            f"{wanted}, and the dataset has no unlabeled images",
            "images without a label to learn from",
            "build the dataset with job/shard.py --keep-unlabeled, or set --consistency.images 0",
        )
    for fold in folds:
        if not len(unlabeled.usable(table, fold)):
            raise UserError(
                f"{wanted}, and fold {fold} may use none of {counted(count, 'unlabeled image')}: they are of its"
                " patients, or copies of other images",
                "unlabeled images of other patients than those whom the fold validates on",
                "build the dataset with more of them, or set --consistency.images 0",
            )


def check_expected(expected: Path | None, table: SampleTable) -> None:
    """Refuse a wrong list of ids now rather than after the last epoch."""
    if expected is not None:
        ids = dict.fromkeys(table.image_id[table.select("test")].tolist(), rle.EMPTY)
        submission.order_rows(ids, annotations.read_ids(expected), log.debug)


def less_memory(recipe: Recipe) -> tuple[str, str]:
    """Return what needs the memory in training, and what to do when there is too little."""
    sizes = " ".join(map(str, recipe.image_size))
    return (
        f"--micro-batch-size {recipe.micro_batch_size} at --image-size {sizes} with {recipe.model.encoder}",
        "lower --micro-batch-size or --image-size, or choose a smaller --model.encoder, in a new --run; or set"
        f" --images-at-once {recipe.micro_batch_size}, or end other processes on the same device",
    )
