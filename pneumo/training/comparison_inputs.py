"""What a comparison is given, and what each of its runs is trained with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumo.training.inputs import TrainingInputs
from pneumo.training.loop import LoopOptions
from pneumo.training.shared_training import has_same_training
from pneumo.training.variants import RUNS, Variant, run_name


@dataclass(frozen=True, kw_only=True)
class ComparisonInputs:
    """What a comparison is given."""

    variants: Sequence[Variant]
    seeds: Sequence[int]
    dataset: Path
    out: Path
    folds: tuple[int, ...]
    """Empty = all of the dataset's."""
    options: LoopOptions
    skip_damaged: bool

    @property
    def planned(self) -> list[tuple[Variant, int]]:
        """The variant and the seed of each run, in the order of training."""
        return [(variant, seed) for variant in self.variants for seed in self.seeds]

    def training(self, variant: Variant, seed: int) -> TrainingInputs:
        """Return what is trained for a run.

        Raises:
            UserError: When the options do not suit the variant.
        """
        return TrainingInputs(
            recipe=variant.seeded(seed),
            dataset=self.dataset,
            run=self.out / RUNS / run_name(variant.name, seed),
            folds=self.folds,
            expected=None,
            options=self.options,
            skip_damaged=self.skip_damaged,
            teacher=variant.teacher,
        )

    def source(self, variant: Variant, seed: int) -> TrainingInputs | None:
        """Return the training of an earlier variant whose networks are those of this one; None = its own."""
        for earlier in self.variants[: self.variants.index(variant)]:
            if earlier.teacher == variant.teacher and has_same_training(earlier.recipe, variant.recipe):
                return self.training(earlier, seed)
        return None
