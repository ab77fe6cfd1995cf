"""Recipes: stages and ranges."""

import pytest

from pneumo.runtime.errors import UserError
from pneumo.training.recipe import Recipe


def test_single_values_hold_for_every_stage() -> None:
    stages = Recipe(epochs=(3, 2), image_size=(256,), learning_rate=(1e-3, 1e-4), positive_rate=(0.8,)).stages
    assert [(s.epochs, s.image_size, s.learning_rate) for s in stages] == [(3, 256, 1e-3), (2, 256, 1e-4)]
    assert [s.positive_rate for s in stages] == [(0.8, 0.8), (0.8, 0.8)]


def test_the_positive_rate_changes_linearly_over_a_stage() -> None:
    (stage,) = Recipe(epochs=(5,), positive_rate=(0.8,), final_positive_rate=(0.4,)).stages
    rates = [stage.positive_rate_at(epoch) for epoch in range(5)]
    assert rates == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4])
    assert Recipe().stages[0].positive_rate_at(0) is None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"epochs": (1, 2), "image_size": (64, 64, 64)}, "one for each stage"),
        ({"epochs": ()}, "at least one value"),
        ({"epochs": (0,)}, "--epochs 0; expected 1 to 100000; correct --epochs"),
        ({"image_size": (100,)}, "--image-size 100; expected a multiple of 32, 32 to 4096"),
        ({"positive_rate": (1.5,)}, "--positive-rate 1.5; .* at most 1"),
        ({"final_positive_rate": (0.5,)}, "--positive-rate to be set too"),
        ({"batch_size": 6, "micro_batch_size": 4}, "multiple of --micro-batch-size 4"),
        ({"micro_batch_size": 0}, "--micro-batch-size 0"),
        ({"learning_rate": (-1.0,)}, "--learning-rate -1.0"),
        ({"ema_decay": 1.0}, "--ema-decay 1.0"),
        ({"seed": -1}, "seed"),
    ],
)
def test_values_out_of_range_are_named(fields: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        Recipe(**fields)  # type: ignore[arg-type]
