"""The state of the loop: scores of a stage, and the order of a checkpoint's sums."""

import pytest

from pneumo.modeling.losses.loss import SUMS, LossConfig
from pneumo.training.loop_state import Cursor, LoopState

LOSS = LossConfig(bce=1.0, dice=1.0, focal=0.0, presence=0.0)
LOSS_SUMS = {"presence": 5.0, "total": 1.0, "focal": 4.0, "bce": 2.0, "dice": 3.0}


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


def test_sums_are_ordered_by_name() -> None:
    assert LoopState(loss_sums=LOSS_SUMS).ordered_loss_sums(LOSS) == [LOSS_SUMS[name] for name in SUMS]


def test_a_term_without_a_weight_may_be_newer_than_the_checkpoint() -> None:
    older = {name: value for name, value in LOSS_SUMS.items() if name != "focal"}
    expected = [{**LOSS_SUMS, "focal": 0.0}[name] for name in SUMS]
    assert LoopState(loss_sums=older).ordered_loss_sums(LOSS) == expected


@pytest.mark.parametrize("name", ["total", "bce", "dice"])
def test_a_missing_sum_is_refused(name: str) -> None:
    state = LoopState(loss_sums={key: value for key, value in LOSS_SUMS.items() if key != name})
    with pytest.raises(ValueError, match=rf"^loss_sums\.{name} is missing$"):
        state.ordered_loss_sums(LOSS)


def test_the_sum_of_an_unknown_term_is_refused() -> None:
    state = LoopState(loss_sums={**LOSS_SUMS, "boundary": 1.0})
    with pytest.raises(ValueError, match=r"^this version of pneumo has no loss term 'boundary'$"):
        state.ordered_loss_sums(LOSS)
