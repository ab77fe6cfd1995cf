"""The state of the loop over a fold: the next step, and the results so far. A checkpoint has it as state.json."""

from dataclasses import field

from pneumo.runtime.config import config_dataclass
from pneumo.runtime.ranges import Count


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

    step: Count = 0
    """Optimizer steps done, over all stages."""
    cursor: Cursor = field(default_factory=Cursor)
    history: list[dict[str, int | float]] = field(default_factory=list)
    """One entry for each epoch, as in fold.json: losses, images per second, validation metrics."""
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
