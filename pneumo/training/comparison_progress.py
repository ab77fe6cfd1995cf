"""Progress of a comparison: which run begins, and how long those that are left will take."""

from collections.abc import Sequence

from pneumo.runtime.console import format_seconds, log
from pneumo.training.comparison_inputs import ComparisonInputs
from pneumo.training.recipe import Recipe


class ComparisonProgress:
    """Says which run begins, and how long those that are left will take by those that this process has trained.

    A run's time is taken as proportional to its epochs times the pixels of what its steps see of an image, and to the
    images of a step, unlabeled ones included, for each labeled one.
    """

    def __init__(self, inputs: ComparisonInputs, finished: Sequence[bool]) -> None:
        self._inputs, self._finished = inputs, finished
        self._work = self._seconds = 0.0

    def add(self, recipe: Recipe, seconds: float) -> None:
        """Count a run; one of 0 seconds was not trained."""
        if seconds:
            self._work, self._seconds = self._work + work_of(recipe), self._seconds + seconds

    def log(self, number: int) -> None:
        """Log the beginning of a run."""
        planned, variants = self._inputs.planned, self._inputs.variants
        variant, seed = planned[number]
        left = [each for each, done in zip(planned[number:], self._finished[number:], strict=True) if not done]
        seconds = sum(work_of(v.recipe) for v, s in left if self._inputs.source(v, s) is None) * self._seconds
        outlook = f"; about {format_seconds(seconds / self._work)} left, by the runs so far" if self._work else ""
        place = variants.index(variant) + 1, len(variants)
        text = "run %d of %d: variant %s (%d of %d), seed %d%s"
        log.info(text, number + 1, len(planned), variant.name, *place, seed, outlook)


def work_of(recipe: Recipe) -> float:
    """Return how much there is to train for a recipe, in pixels that its steps see for each labeled image."""
    images = 1 + recipe.consistency.images / recipe.batch_size
    return images * sum(stage.epochs * (stage.crop_size or stage.image_size) ** 2 for stage in recipe.stages)
