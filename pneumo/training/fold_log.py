"""What TensorBoard shows of a fold: written while it is trained, by the leader of its group.

Groups of tags, in the order in which TensorBoard shows them:

    1_val/          metrics of each validation
    2_val_images/   the same held-out images at each validation
    final/          metrics of the finished fold
    lr              learning rate
    memory/         most memory, in GiB: of the process, and taken of the GPU
    time/           of the last steps: images per second, seconds of a step, share of time spent waiting for data;
                    seconds of a validation
    train/          of the last steps: mean losses, norm of the gradient
    train_epoch/    the same of whole epochs

and, on pages of their own, the recipe as text, the precision-recall curves of presence at each validation, and the
recipe beside the final metrics (hparams), where the folds of a run are one row.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from pneumo.inference.evaluation import presence_scores, validation_metrics
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import Metrics
from pneumo.reporting import summaries
from pneumo.reporting.held_out_images import HeldOutImages, SmallMaps
from pneumo.reporting.summaries import FINAL, VALIDATION, VALIDATION_IMAGES
from pneumo.reporting.tensorboard import FoldEvents
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import to_json
from pneumo.training.run_directory import FoldDirectory, RunDirectory

_TAGS = {
    "validation_s": "time/validation_s",
    "process_gib": "memory/process_gib",
    "device_gib": "memory/device_gib",
}
"""Tags of an epoch's entries that are not about its training."""

_FINAL, _NESTED = 1, 2
"""Steps behind the last one at which the final metrics are: a start that repeats them hides them, and nothing else."""


class FoldLog:
    """Writes the events of a fold.

    Args:
        directory: The fold's directory.
        recipe: The run's recipe.
        held_out: The images that are drawn at each validation.
        hide_from: Step from which what an earlier start has written is hidden.
        enabled: False on ranks that do not write.
    """

    def __init__(
        self, directory: FoldDirectory, recipe: Recipe, held_out: HeldOutImages, hide_from: int, *, enabled: bool
    ) -> None:
        self._held_out = held_out
        self._events = FoldEvents(directory.path, hide_from, enabled=enabled)
        if hide_from == 0:
            values = to_json(recipe)
            self._events.add(0, summaries.recipe_table(values))
            for summary in summaries.start_of_session(values, run=directory.path.parent.name):
                self._events.add(0, summary)

    def add_steps(self, step: int, means: Mapping[str, float], times: Mapping[str, float], rate: float) -> None:
        """Add the mean losses and the times of the last steps."""
        train = {f"train/{name}": value for name, value in means.items()}
        time = {f"time/{name}": value for name, value in times.items() if name != "train_s"}
        self._events.add_scalars(step, train | time | {"lr": rate})

    def add_validation(self, step: int, histograms: PredictionHistograms, maps: SmallMaps) -> None:
        """Add the pictures and the precision-recall curves of a validation.

        Args:
            step: Optimizer steps done.
            histograms: Of the validation's images.
            maps: What all ranks kept of the held-out images.
        """
        for name, drawn in self._held_out.draw(maps).items():
            self._events.add(step, summaries.picture(f"{VALIDATION_IMAGES}/{name}", drawn))
        if histograms.positive.any():
            for name, score in presence_scores(histograms).items():
                self._events.add(step, summaries.precision_recall(f"presence/{name}", histograms.positive, score))

    def add_epoch(self, entry: Mapping[str, int | float]) -> None:
        """Add the history's entry of an epoch, each figure with a tag of its own."""
        named = {_tag(name): value for name, value in entry.items() if name != "step"}
        self._events.add_scalars(int(entry["step"]), named)

    def finish(self, step: int, histograms: PredictionHistograms) -> None:
        """Add the metrics of the finished fold, under the best rule for its own images.

        Args:
            step: Optimizer steps done.
            histograms: Of the fold's images.
        """
        scores = {f"{FINAL}/{k}": v for k, v in validation_metrics(histograms).items()}
        self._events.add_scalars(step + _FINAL, scores)
        self._events.add(step + _FINAL, summaries.end_of_session())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.__exit__(kind, error, trace)


def add_nested_dice(run: RunDirectory, metrics: Metrics, steps: Mapping[int, int]) -> None:
    """Add to each fold the Dice of its images under the rule that was chosen on the other folds.

    Args:
        run: A finished run.
        metrics: Its metrics.
        steps: Optimizer steps of each fold whose history is known.
    """
    # The images of a single fold were divided into two halves.
    alone = run.dataset.num_folds == 1
    dice = {0: metrics.nested.dice} if alone else {fold.fold: fold.dice for fold in metrics.folds}
    for fold, last in steps.items():
        step = last + _NESTED
        with FoldEvents(run.fold(fold).path, step, enabled=True) as events:
            events.add_scalars(step, {f"{FINAL}/dice_nested": dice[fold]})


def _tag(name: str) -> str:
    if name.startswith("val/"):
        return f"{VALIDATION}/{name.removeprefix('val/')}"
    return _TAGS.get(name, f"train_epoch/{name.removeprefix('train/')}")
