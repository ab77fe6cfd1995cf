"""A finished run as the teacher of another one: which of its networks may label images for which fold.

For fold k of the new run only the teacher's network of fold k labels: it was not trained on the images that validate
fold k. Any other one was, and so was every mean over folds: what these say of an image similar to a validation image
has that image's label in it, and the score would no longer be that of unseen images.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pneumo.dataset.table import SampleTable
from pneumo.modeling.trained_weights import TrainedWeights
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, list_some
from pneumo.training.finished_run import open_finished
from pneumo.training.fold_results import read_fold_histograms, trained_weights
from pneumo.training.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A run whose network of a fold may label images for that fold."""

    run: RunDirectory
    weights: tuple[TrainedWeights, ...]
    """Of each fold."""

    @property
    def sha256(self) -> str:
        """Digest of all weights, by which a run recognizes its teacher wherever it is."""
        return hashlib.sha256("\n".join(weights.sha256 for weights in self.weights).encode()).hexdigest()


def open_teacher(path: Path, table: SampleTable, num_folds: int, excluded: Collection[str]) -> Teacher:
    """Open a finished run that may teach on a dataset.

    The dataset need not be the one that it was trained on: with unlabeled images, it is another one. Its labeled images
    have to be the same in the same folds.

    Args:
        path: The run.
        table: The dataset's table, without excluded images.
        num_folds: Number of folds of the dataset.
        excluded: Images that are not in the table.

    Raises:
        UserError: When it is no finished run, or a network may have been trained on images that its fold validates on.
    """
    if not len(table.select("unlabeled")):
        raise UserError(
            f"--teacher {path}, and the dataset has no unlabeled images",
            "images without a label for the teacher to label",
            "build the dataset with job/shard.py --keep-unlabeled, or leave --teacher and --pseudo-labels.share out",
        )
    run = open_finished(path)
    if run.dataset.num_folds != num_folds:
        raise _other_folds(path, f"it has {run.dataset.num_folds} folds, the dataset {num_folds}")
    for fold in range(num_folds):
        unseen = set(read_fold_histograms(run.fold(fold), fold).image_id.tolist())
        own = set(table.image_id[table.select("train", {fold})].tolist())
        others = (unseen ^ own) - set(run.dataset.excluded) - set(excluded)
        if others:
            raise _other_folds(
                path, f"fold {fold} of it and of the dataset differ, such as in {list_some(sorted(others))}"
            )
    if run.recipe.chooses_by_own_images:
        log.warning("the teacher %s was chosen by its score on the images of its fold", path)
    return Teacher(run=run, weights=trained_weights(run))


def _other_folds(path: Path, found: str) -> UserError:
    return UserError(
        f"--teacher {path}: {found}",
        "the dataset's folds: a network that was trained on a fold's images must not label for it",
        "train the teacher on this dataset, or divide the dataset as it was then, with job/shard.py --num-folds and"
        " --seed",
    )
