"""The learning rate over a stage."""

import pytest

from pneumo.training.schedule import learning_rate


def rate(done: float, **changes: float) -> float:
    values = {"peak": 1.0, "warmup_epochs": 2.0, "final_factor": 0.1} | changes
    return learning_rate(done, 10, **values)


def test_warm_up_is_linear_and_the_cosine_ends_at_the_final_factor() -> None:
    assert [rate(0), rate(1), rate(2)] == pytest.approx([0.0, 0.5, 1.0])
    assert rate(6) == pytest.approx(0.55)  # halfway down: the mean of the peak and the end
    assert rate(10) == pytest.approx(0.1)
    assert rate(11) == pytest.approx(0.1)


def test_a_factor_of_one_keeps_the_peak() -> None:
    assert {rate(done, final_factor=1.0, warmup_epochs=0.0) for done in (0.0, 3.0, 9.5)} == {1.0}


def test_the_warm_up_never_takes_more_than_half_a_stage() -> None:
    assert rate(5, warmup_epochs=50.0) == pytest.approx(1.0)
    assert rate(10, warmup_epochs=50.0) == pytest.approx(0.1)
