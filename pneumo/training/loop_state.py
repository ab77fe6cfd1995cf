"""The state of the loop over a fold: the next step, and the results so far. A checkpoint has it as state.json."""

from collections.abc import Sequence
from dataclasses import field

from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import counted
from pneumo.runtime.ranges import Count
from pneumo.training.recipe import Stage

MEASURED = frozenset({"images_per_s", "step_s", "train_s", "data_wait", "validation_s", "process_gib", "device_gib"})
"""What an entry of the history has that differs from one run to the next: the speed of the steps, their seconds, the
share of these spent waiting for data, the seconds of the validation, and the most memory of a process and of a GPU."""

SCORE = "val/dice_best_rule"
"""The entry by which validations are compared."""


@config_dataclass(frozen=False)
class Cursor:
    """The next step; ``stage`` equals the number of stages when training is over."""

    stage: Count = 0
    epoch: Count = 0
    """Epoch of the stage, from 0."""
    step: Count = 0
    """Step of the epoch, from 0; the number of its steps when only its validation is left."""


@config_dataclass(frozen=False)
class LoopState:
    """The state of the loop, from which training resumes."""

    fold: Count = 0
    """Number of the fold."""
    step: Count = 0
    """Optimizer steps done, over all stages."""
    cursor: Cursor = field(default_factory=Cursor)
    history: list[dict[str, int | float]] = field(default_factory=list)
    """One entry for each epoch, as in fold.json: losses, validation metrics, and what is measured (``MEASURED``)."""
    best_score: float = -1.0
    """Best validation score of the current stage; -1 before the first."""
    validations_without_improvement: Count = 0
    """Validations since the best one."""
    step_sums: dict[str, float] = field(default_factory=dict)
    """Sums over the steps of the epoch so far, by name (see ``StepSums``)."""

    @property
    def epochs_done(self) -> int:
        """Epochs done, over all stages; an epoch ends with its validation, not with its last step."""
        return len(self.history)

    def scores(self, stage: int) -> tuple[float, ...]:
        """Return the validation scores of a stage so far."""
        return tuple(e[SCORE] for e in self.history if e["stage"] == stage and SCORE in e)

    def add_score(self, score: float) -> bool:
        """Count a validation; return True when its score is the best of the stage."""
        improved = score > self.best_score
        self.best_score = score if improved else self.best_score
        self.validations_without_improvement = 0 if improved else self.validations_without_improvement + 1
        return improved

    def start_stage(self, stage: int) -> None:
        """Move to the first step of a stage, which has no score yet."""
        self.cursor = Cursor(stage=stage)
        self.best_score, self.validations_without_improvement = -1.0, 0

    def check(self, fold: int, stages: Sequence[Stage]) -> None:
        """Check that this is a state of a fold and a recipe: one beyond them would look like a finished fold.

        Raises:
            ValueError: Naming what does not fit.
        """
        if self.fold != fold:
            raise ValueError(f"it is of fold {self.fold}, not of fold {fold}")
        cursor = self.cursor
        at_the_end = cursor.stage == len(stages) and cursor == Cursor(stage=len(stages))
        if not at_the_end and not (cursor.stage < len(stages) and cursor.epoch < stages[cursor.stage].epochs):
            raise ValueError(f"stage {cursor.stage}, epoch {cursor.epoch} is beyond the recipe's stages and epochs")
        most = sum(stage.epochs for stage in stages[: cursor.stage]) + cursor.epoch
        # A stage before may have ended early, after one epoch at least.
        if not cursor.stage + cursor.epoch <= self.epochs_done <= most:
            done = counted(self.epochs_done, "epoch is", "epochs are")
            raise ValueError(f"{done} done before stage {cursor.stage}, epoch {cursor.epoch}")
