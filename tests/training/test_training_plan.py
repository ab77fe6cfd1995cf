"""Counts of a training, and its time from the cost of a step, against numbers worked out by hand."""

from dataclasses import replace

from pneumo.distributed.partition import FoldGroup, Wave, WavePlan
from pneumo.training.plan import (
    FoldPlan,
    StageCost,
    StagePlan,
    fold_seconds,
    submission_seconds,
    training_seconds,
)
from pneumo.training.recipe import Recipe

RECIPE = Recipe(epochs=(2, 1), image_size=(64, 128), batch_size=8, micro_batch_size=2, tta=("hflip",))
COSTS = (
    StageCost(micro_batch_s=0.5, waiting=0.1, prediction_s=0.25),
    StageCost(micro_batch_s=2.0, waiting=0.0, prediction_s=1.0),
)


def plan(fold: int) -> FoldPlan:
    first, second = RECIPE.stages
    return FoldPlan(
        fold=fold,
        training_images=40,
        pseudo_images=0,
        unlabeled_images=0,
        validation_images=10,
        stages=(
            StagePlan(stage=first, images=(40, 40), steps=(5, 5), validations=2),
            StagePlan(stage=second, images=(40,), steps=(5,), validations=1),
        ),
    )


def test_seconds_of_a_fold() -> None:
    # 10 steps of 4 x 0.5 s and 5 of 4 x 2 s; 10 images, twice at 0.25 s, once at 1 s, and once with two views.
    assert fold_seconds(plan(0), COSTS, RECIPE, ranks=1) == 20 + 40 + 10 * (0.5 + 1 + 2)
    # 4 ranks have a micro-batch each, and a fourth of the images.
    assert fold_seconds(plan(0), COSTS, RECIPE, ranks=4) == (20 + 40 + 10 * (0.5 + 1 + 2)) / 4
    assert plan(0).steps == 15


def test_a_fold_s_best_networks_predict_its_images_once_at_the_end() -> None:
    three = replace(RECIPE, keep="best", epochs=(2, 3), best_checkpoints=3)
    assert fold_seconds(plan(0), COSTS, three, ranks=1) == 20 + 40 + 10 * (0.5 + 1 + 3 * 2)


def waves(*waves: Wave) -> WavePlan:
    return WavePlan(ranks=6, micro_batches=4, largest_group=4, waves=waves)


def test_the_training_ends_with_the_last_group() -> None:
    plans = [plan(0), plan(1), plan(2)]
    alone = fold_seconds(plan(1), COSTS, RECIPE, ranks=1)
    one = waves((FoldGroup(range(4), (0, 2)), FoldGroup(range(4, 5), (1,))))
    assert training_seconds(plans, one, COSTS, RECIPE) == alone
    quick = [replace(cost, micro_batch_s=0.0) for cost in COSTS]
    one = waves((FoldGroup(range(1), (0, 2)), FoldGroup(range(1, 2), (1,))))
    assert training_seconds(plans, one, quick, RECIPE) == 2 * 35


def test_a_group_of_a_later_wave_begins_once_its_ranks_are_free() -> None:
    plans = [plan(0), plan(1), plan(2)]
    alone = fold_seconds(plan(1), COSTS, RECIPE, ranks=1)
    first = (FoldGroup(range(4), (0,)), FoldGroup(range(4, 5), (1,)))
    assert training_seconds(plans, waves(first, (FoldGroup(range(4), (2,)),)), COSTS, RECIPE) == alone
    assert training_seconds(plans, waves(first, (FoldGroup(range(4, 6), (2,)),)), COSTS, RECIPE) == 1.5 * alone
    assert training_seconds(plans, waves(), COSTS, RECIPE) == 0


def test_test_images_are_predicted_by_all_folds_with_all_views() -> None:
    assert submission_seconds(12, 1, COSTS, RECIPE, ranks=3) == 12 / 3 * 2 * 1.0
    # Some of them twice, at most 500, to find the rule of the mean.
    assert submission_seconds(12, 5, COSTS, RECIPE, ranks=3) == 24 / 3 * 5 * 2 * 1.0
    assert submission_seconds(600, 5, COSTS, RECIPE, ranks=3) == 1100 / 3 * 5 * 2 * 1.0
    three = replace(RECIPE, keep="best", epochs=(2, 3), best_checkpoints=3)
    assert submission_seconds(12, 5, COSTS, three, ranks=3) == 24 / 3 * 3 * 5 * 2 * 1.0
