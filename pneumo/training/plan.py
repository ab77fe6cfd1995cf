"""What a training will do and how long that takes, from the cost of a few steps: counts alone, nothing is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from pneumo.dataset import unlabeled
from pneumo.dataset.table import SampleTable
from pneumo.distributed.partition import WavePlan, busiest_share
from pneumo.inference.submission_rule import MAX_IMAGES
from pneumo.training.epoch import Epoch
from pneumo.training.recipe import Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage of one fold."""

    stage: Stage
    images: tuple[int, ...]
    """Training images in each epoch."""
    steps: tuple[int, ...]
    """Optimizer steps in each epoch."""
    validations: int
    """Epochs with a validation at their end."""


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """The training of one fold."""

    fold: int
    training_images: int
    """Images of the other folds."""
    pseudo_images: int
    """Unlabeled images that may get a pseudo-label."""
    unlabeled_images: int
    """Unlabeled images of which each step has some."""
    validation_images: int
    """The fold's own images."""
    stages: tuple[StagePlan, ...]

    @property
    def steps(self) -> int:
        """Optimizer steps in all stages."""
        return sum(sum(stage.steps) for stage in self.stages)


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What a rank measured at a stage's image size."""

    micro_batch_s: float
    """Seconds of an optimizer step, for each of its micro-batches of labeled images on the rank."""
    waiting: float
    """Fraction of it that was spent waiting for data, 0 to 1."""
    prediction_s: float
    """Seconds to predict an image without test-time augmentation."""


def plan_fold(recipe: Recipe, table: SampleTable, fold: int, num_folds: int) -> FoldPlan:
    """Count the images and steps of a fold's training; early ends of stages (``patience``) are not foreseen.

    Args:
        recipe: What to train.
        table: The dataset's samples, without excluded ones.
        fold: The fold.
        num_folds: Number of folds.
    """
    rows = table.select("train", set(range(num_folds)) - {fold})
    # Of how many the teacher is sure is not known yet: these are the most.
    usable = unlabeled.usable(table, fold)
    pseudo = usable if recipe.pseudo_labels.share else rows[:0]
    stages = []
    for stage in recipe.stages:
        # The seed decides which samples an epoch has, not how many.
        epochs = [
            Epoch(recipe=recipe, stage=stage, index=index, seed=0, table=table, rows=rows, pseudo_rows=pseudo)
            for index in range(stage.epochs)
        ]
        stages.append(
            StagePlan(
                stage=stage,
                images=tuple(len(epoch.order) for epoch in epochs),
                steps=tuple(epoch.steps for epoch in epochs),
                validations=sum(epoch.is_validated for epoch in epochs),
            )
        )
    own = len(table.select("train", {fold}))
    return FoldPlan(
        fold=fold,
        training_images=len(rows),
        pseudo_images=len(pseudo),
        unlabeled_images=len(usable) if recipe.consistency.images else 0,
        validation_images=own,
        stages=tuple(stages),
    )


def fold_seconds(plan: FoldPlan, costs: Sequence[StageCost], recipe: Recipe, ranks: int) -> float:
    """Return the seconds that a group of ranks takes for a fold; what the ranks exchange is counted as free.

    Args:
        plan: The fold.
        costs: Of each stage.
        recipe: What is trained.
        ranks: Ranks of the group.
    """
    share = busiest_share(recipe.micro_batches, ranks)
    training = sum(sum(s.steps) * share * cost.micro_batch_s for s, cost in zip(plan.stages, costs, strict=True))
    validated = sum(s.validations * cost.prediction_s for s, cost in zip(plan.stages, costs, strict=True))
    # Once more at the end, with every view and network.
    published = costs[-1].prediction_s * (1 + len(recipe.tta)) * recipe.best_checkpoints
    return training + plan.validation_images / ranks * (validated + published)


def training_seconds(plans: Sequence[FoldPlan], waves: WavePlan, costs: Sequence[StageCost], recipe: Recipe) -> float:
    """Return the seconds until the last group has trained its folds; a group begins once all of its ranks are free."""
    by_fold = {plan.fold: plan for plan in plans}
    free_at = [0.0] * waves.ranks
    for ranks, folds in (group for wave in waves.waves for group in wave):
        end = max(free_at[rank] for rank in ranks)
        end += sum(fold_seconds(by_fold[fold], costs, recipe, len(ranks)) for fold in folds)
        for rank in ranks:
            free_at[rank] = end
    return max(free_at)


def submission_seconds(images: int, num_folds: int, costs: Sequence[StageCost], recipe: Recipe, ranks: int) -> float:
    """Return the seconds that all ranks take for the test images, predicted by the networks of all folds.

    Of several folds, some are predicted before, to find the rule of the mean.
    """
    networks = num_folds * recipe.best_checkpoints
    predicted = images + (min(images, MAX_IMAGES) if num_folds > 1 else 0)
    return predicted / ranks * networks * costs[-1].prediction_s * (1 + len(recipe.tta))
