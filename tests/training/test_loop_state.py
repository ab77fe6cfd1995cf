"""The state of the loop: scores of a stage."""

from dataclasses import replace

import pytest

from pneumo.training.loop_state import Cursor, LoopState
from pneumo.training.recipe import Recipe


def test_validations_without_improvement_are_counted_from_the_best() -> None:
    state = LoopState()
    assert [state.add_score(score) for score in (0.2, 0.1, 0.2, 0.3, 0.0)] == [True, False, False, True, False]
    assert (state.best_score, state.validations_without_improvement) == (0.3, 1)


def test_a_stage_starts_without_a_score() -> None:
    state = LoopState(step=9, cursor=Cursor(epoch=2, step=3), history=[{"epoch": 1}, {"epoch": 2}])
    state.add_score(0.5)
    state.add_score(0.4)
    state.start_stage(1)
    assert state == LoopState(step=9, cursor=Cursor(stage=1), history=[{"epoch": 1}, {"epoch": 2}])
    assert state.epochs_done == 2


STAGES = replace(Recipe(), epochs=(2, 3), image_size=(32,)).stages


def state(stage: int, epoch: int, done: int, fold: int = 1) -> LoopState:
    history: list[dict[str, int | float]] = [{"epoch": n} for n in range(done)]
    return LoopState(fold=fold, cursor=Cursor(stage=stage, epoch=epoch), history=history)


@pytest.mark.parametrize("place", [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 2, 4), (2, 0, 5), (1, 0, 1), (2, 0, 2)])
def test_states_of_the_recipe_also_after_early_stopping_are_taken(place: tuple[int, int, int]) -> None:
    state(*place).check(1, STAGES)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ((0, 0, 0, 2), "it is of fold 2, not of fold 1"),
        ((3, 0, 5), "stage 3, epoch 0 is beyond the recipe's"),
        ((2, 1, 5), "stage 2, epoch 1 is beyond the recipe's"),
        ((0, 2, 2), "stage 0, epoch 2 is beyond the recipe's"),
        ((1, 1, 4), "4 epochs are done before stage 1, epoch 1"),
        ((1, 1, 1), "1 epoch is done before stage 1, epoch 1"),
    ],
)
def test_a_state_of_another_fold_or_recipe_is_refused(place: tuple[int, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        state(*place).check(1, STAGES)
