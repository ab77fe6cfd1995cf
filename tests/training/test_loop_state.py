"""The state of the loop: scores of a stage."""

from pneumo.training.loop_state import Cursor, LoopState


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
