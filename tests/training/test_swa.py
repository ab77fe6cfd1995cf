"""Stochastic weight averaging: the plain mean of the weights at the ends of the last epochs, also of resumed folds."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from trained_folds import STEPS, Train, history, newest
from training_runs import AfterSteps, During, shrunk, train_fold

from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import World
from pneumo.runtime.errors import StopRequested
from pneumo.training import checkpoint, run_directory
from pneumo.training.run_directory import FoldDirectory
from pneumo.training.train_state import TrainState

THREE_EPOCHS = replace(shrunk("debug"), epochs=(3,), final_lr_factor=1.0, swa_epochs=2)
Weights = dict[str, torch.Tensor]


def parameters(state: TrainState) -> Weights:
    return {name: value.detach().clone() for name, value in state.model.named_parameters()}


def assert_mean(found: Weights, parts: list[Weights]) -> None:
    for name, first in parts[0].items():
        mean = torch.stack([part[name].double() for part in parts]).mean(dim=0)
        torch.testing.assert_close(found[name].double(), mean, rtol=1e-6, atol=1e-8)
        assert first.shape == mean.shape


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[Weights]:
    """Return a list that grows by the weights and running statistics whenever some are averaged in."""
    seen: list[Weights] = []
    add = TrainState.add_to_swa

    def add_and_watch(state: TrainState) -> None:
        seen.append(copy.deepcopy(state.model.state_dict()))
        add(state)

    monkeypatch.setattr(TrainState, "add_to_swa", add_and_watch)
    return seen


def test_the_fold_s_weights_are_the_mean_over_its_last_epochs(train: Train, ends: list[Weights]) -> None:
    found = load_file(train("run", THREE_EPOCHS).model)
    assert len(ends) == 2
    last = ends[-1]
    names = [name for name in last if "running" not in name and "num_batches" not in name]
    assert any(not torch.equal(ends[0][name], last[name]) for name in names)
    assert_mean(found, [{name: end[name] for name in names} for end in ends])
    # Averaged weights have statistics of their own.
    assert any(not torch.equal(found[name], last[name]) for name in last if "running_var" in name)


def test_a_stage_of_which_all_epochs_are_averaged_goes_on_from_their_mean(train: Train, ends: list[Weights]) -> None:
    """The second stage begins with the mean, with a new one of its own."""
    steps: list[Weights] = []
    recipe = replace(THREE_EPOCHS, epochs=(2, 1), swa_epochs=1)
    start = TrainState.start_next_stage

    def start_and_watch(state: TrainState) -> None:
        start(state)
        steps.append(parameters(state))
        assert state.swa is None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainState, "start_next_stage", start_and_watch)
        train("run", recipe)
    assert len(ends) == len(steps) == 2
    for end, begun in zip(ends, steps, strict=True):
        assert all(torch.equal(end[name], value) for name, value in begun.items())


@pytest.fixture(scope="module")
def uninterrupted(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> FoldDirectory:
    return train_fold(tmp_path_factory.mktemp("swa") / "whole", dataset, world, THREE_EPOCHS)


@pytest.mark.parametrize(
    ("stop", "averaged"),
    [
        # Its validation is left.
        pytest.param(AfterSteps(2 * STEPS), 1, id="at the first end", marks=pytest.mark.slow),
        pytest.param(During("validating", 2 * (2 * STEPS + 2)), 1, id="in its validation"),
        pytest.param(AfterSteps(3 * STEPS), 2, id="at the last end", marks=pytest.mark.slow),
    ],
)
def test_a_fold_stopped_around_the_ends_resumes_to_the_same_mean(
    train: Train, uninterrupted: FoldDirectory, tmp_path: Path, stop: StopFlag, averaged: int
) -> None:
    with pytest.raises(StopRequested):
        train("pieces", THREE_EPOCHS, stop)
    saved = checkpoint.load(newest(run_directory.load(tmp_path / "pieces").fold(0)))
    assert (saved.optimizer["swa_updates"], "swa" in saved.weights) == (averaged, averaged > 0)
    pieces = train("pieces", THREE_EPOCHS)
    assert pieces.model.read_bytes() == uninterrupted.model.read_bytes()
    assert repr(history(pieces)) == repr(history(uninterrupted))


def test_without_it_the_moving_average_is_used(train: Train, ends: list[Weights]) -> None:
    train("run", replace(THREE_EPOCHS, epochs=(1,), swa_epochs=0))
    assert ends == []
