"""The learning rate over a stage, by itself and as torch's own schedulers."""

import random

import pytest
import torch

from pneumo.training.schedule import Plateau, cosine_wave, learning_rate, plateau_rate


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


def torch_plateau(scores: list[float], peak: float, plateau: Plateau) -> list[float]:
    """Return the learning rate after each score by torch's own class."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max",
        factor=plateau.factor,
        patience=plateau.patience,
        threshold=plateau.threshold,
        min_lr=plateau.min_learning_rate,
    )
    rates = []
    for score in scores:
        scheduler.step(score)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("patience", [0, 2, 5])
@pytest.mark.parametrize("factor", [0.1, 0.5])
@pytest.mark.parametrize("threshold", [1e-7, 0.02, 0.0])
def test_on_a_plateau_it_is_that_of_torch_for_any_scores(patience: int, factor: float, threshold: float) -> None:
    plateau = Plateau(factor=factor, patience=patience, threshold=threshold, min_learning_rate=1e-6)
    rates = set()
    for seed in range(10):
        generator = random.Random(seed)
        scores = [round(0.78 + 0.05 * generator.random(), 2) for _ in range(60)]
        expected = torch_plateau(scores, 1e-4, plateau)
        found = [plateau_rate(scores[: n + 1], peak=1e-4, plateau=plateau) for n in range(len(scores))]
        assert found == expected
        rates |= set(found)
    assert len(rates) > 2
    assert plateau_rate([], peak=1e-4, plateau=plateau) == 1e-4


def test_the_winner_s_plateau_by_hand() -> None:
    """Better, equal, worse, worse: the third score that is not better lowers it; it ends at the smallest rate."""
    scores = [0.78, 0.80, 0.80, 0.79, 0.79, 0.81, *[0.8] * 9]
    rates = [plateau_rate(scores[: n + 1], peak=1e-4, plateau=Plateau()) for n in range(len(scores))]
    assert rates == pytest.approx([1e-4] * 4 + [1e-5] * 4 + [1e-6] * 3 + [1e-7] * 4)


def test_the_cosine_wave_is_that_of_torch_beyond_its_half_period() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8, eta_min=1e-7)
    for epoch in range(50):
        rate = cosine_wave(epoch, peak=1e-5, falling_epochs=8, final_factor=0.01)
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        scheduler.step()
