"""Randomness of a step."""

import torch

from pneumo.training.train_state import seed_step


def test_dropout_is_a_function_of_its_counters() -> None:
    def draw(*counters: int) -> list[float]:
        seed_step(*counters)
        return torch.rand(4).tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({tuple(draw(*c)) for c in [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]}) == 4
