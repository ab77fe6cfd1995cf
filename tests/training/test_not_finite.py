"""Losses, gradients and weights that are not finite: none is saved, and fp16 skips its step."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trained_folds import Train, fp16, newest, stopped
from training_runs import TWO_EPOCHS, AfterSteps, Never, shrunk

from pneumo.distributed.stopping import StopFlag
from pneumo.loading.contract import Batch
from pneumo.modeling.finite import find_nonfinite
from pneumo.modeling.losses.loss import SUMS
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import checkpoint, run_directory
from pneumo.training.train_state import StepResult, TrainState


def test_a_loss_that_is_not_finite_is_an_error_and_not_a_checkpoint(train: Train, tmp_path: Path) -> None:
    recipe = replace(shrunk("debug"), learning_rate=(9.0,), clip_norm=0.0, optimizer="adam", epochs=(30,))
    recipe = replace(recipe, loss=replace(recipe.loss, bce=1e38))
    with pytest.raises(UserError, match=r"loss of fold 0 is not finite at step .*; expected a finite loss"):
        train("run", recipe)
    assert checkpoint.latest(run_directory.load(tmp_path / "run").fold(0).checkpoints) is None


@pytest.mark.parametrize(("stop", "minutes"), [(AfterSteps, 0), (lambda _: Never(), 1e-9)], ids=["stop", "interval"])
def test_a_loss_that_is_not_finite_does_not_replace_a_checkpoint(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: Callable[[int], StopFlag],
    minutes: float,
) -> None:
    good = stopped(train, "run", TWO_EPOCHS, tmp_path)
    before = {path.name: path.read_bytes() for path in good.iterdir()}
    real: Callable[..., StepResult] = TrainState.step

    def step(*arguments: Any) -> StepResult:
        return real(*arguments)._replace(loss_sums=torch.full((len(SUMS),), torch.nan))

    monkeypatch.setattr(TrainState, "step", step)
    with pytest.raises(UserError, match=r"loss of fold 0 is not finite at step 3; .*no checkpoint has this loss"):
        train("run", TWO_EPOCHS, stop(1), checkpoint_minutes=minutes)
    assert list(good.parent.iterdir()) == [good]
    assert {path.name: path.read_bytes() for path in good.iterdir()} == before
    assert newest(run_directory.load(tmp_path / "run").fold(0)) == good


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize(("stop", "minutes"), [(AfterSteps, 0), (lambda _: Never(), 1e-9)], ids=["stop", "interval"])
def test_weights_of_an_infinite_gradient_replace_no_checkpoint_although_the_losses_are_finite(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: Callable[[int], StopFlag],
    minutes: float,
    clip_norm: float,
) -> None:
    recipe = replace(TWO_EPOCHS, clip_norm=clip_norm)
    good = stopped(train, "run", recipe, tmp_path)
    before = {path.name: path.read_bytes() for path in good.iterdir()}
    states: list[tuple[TrainState, StepResult]] = []
    backward, step = TrainState._backward, TrainState.step

    def overflowing(state: TrainState, batch: Batch) -> torch.Tensor:
        sums = backward(state, batch)
        next(p for p in state.model.parameters() if p.grad is not None).grad[0] = torch.inf  # type: ignore[index]
        return sums

    def watched(state: TrainState, *arguments: Any) -> StepResult:
        states.append((state, step(state, *arguments)))
        return states[-1][1]

    monkeypatch.setattr(TrainState, "_backward", overflowing)
    monkeypatch.setattr(TrainState, "step", watched)
    with pytest.raises(
        UserError, match=r"gradient of fold 0 is not finite at step 3; .*no checkpoint has this gradient"
    ):
        train("run", recipe, stop(1), checkpoint_minutes=minutes)
    ((state, result),) = states
    assert result.loss_sums.isfinite().all()
    assert find_nonfinite(state.model.state_dict()), "the weights that must not be saved"
    assert list(good.parent.iterdir()) == [good]
    assert {path.name: path.read_bytes() for path in good.iterdir()} == before
    assert newest(run_directory.load(tmp_path / "run").fold(0)) == good


def test_a_step_that_overflows_fp16_leaves_everything_as_it_was(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The image of the second step is too bright for fp16: its losses and batch statistics are NaN."""
    fp16(monkeypatch, init_scale=4.0)
    backward, weights = TrainState._backward, []

    def overflowing(state: TrainState, batch: Batch) -> torch.Tensor:
        weights.append(copy.deepcopy(state.weights()))
        in_second_step = len(weights) in (3, 4)
        return backward(state, replace(batch, image=batch.image * torch.inf) if in_second_step else batch)

    monkeypatch.setattr(TrainState, "_backward", overflowing)
    caplog.set_level("INFO")
    with pytest.raises(StopRequested):
        train("run", TWO_EPOCHS, AfterSteps(3))
    # The third step starts with the weights, averages and statistics of the second.
    before, after = weights[2], weights[4]
    assert all(torch.equal(before[part][name], after[part][name]) for part in before for name in before[part])
    assert not all(map(torch.equal, weights[0]["model"].values(), before["model"].values()))
    assert "fold 0 step 2 overflowed fp16 and is skipped" in caplog.text
    saved = checkpoint.load(newest(run_directory.load(tmp_path / "run").fold(0)))
    assert saved.optimizer["scaler"]["scale"] == 2.0
    assert (saved.state.step, saved.state.step_sums["steps"]) == (3, 2.0)
    assert math.isfinite(saved.state.step_sums["total"])
