"""What a recipe leaves open, settled when a run starts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import AfterSteps, Never, shrunk, training

from pneumo.distributed.device import CPU
from pneumo.distributed.world import World
from pneumo.loading import build as loading_build
from pneumo.modeling import models
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import run_directory
from pneumo.training.cross_validation import train
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import debug
from pneumo.training.resolution import first_weights, resolve_auto

RECIPE = replace(shrunk("debug"), loader="opencv")


def encoder(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return models.build(RECIPE.model).net.encoder.state_dict()  # type: ignore[union-attr,operator]


def with_weights(path: Path) -> Recipe:
    return replace(RECIPE, model=replace(RECIPE.model, encoder_weights=str(path)))


def test_auto_on_a_cpu_is_fp32_and_opencv() -> None:
    resolved = resolve_auto(debug(), CPU)
    assert resolved == replace(debug(), precision="fp32", loader="opencv")
    assert resolve_auto(resolved, CPU) == resolved


def test_what_the_device_or_the_machine_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="set --precision fp32, in a new --run if this one was started on another"):
        resolve_auto(replace(debug(), precision="fp16"), CPU)
    monkeypatch.setattr(loading_build, "has_dali", lambda: False)
    with pytest.raises(UserError, match=r"set --loader opencv: in training in a new --run, if this one was started"):
        resolve_auto(replace(debug(), loader="dali"), CPU)


def test_a_run_of_fp16_is_not_resumed_on_a_cpu(dataset: Path, tmp_path: Path, world: World) -> None:
    with pytest.raises(StopRequested):
        train(training(RECIPE, dataset, tmp_path / "run"), world, AfterSteps(1))
    record = tmp_path / "run" / "recipe.json"
    record.write_text(record.read_text().replace('"precision": "fp32"', '"precision": "fp16"'))
    with pytest.raises(UserError, match=r"--precision fp16 on cpu.*in a new --run"):
        train(training(RECIPE, dataset, tmp_path / "run"), world, Never())


def test_every_fold_starts_from_the_weights_that_were_recorded(dataset: Path, tmp_path: Path, world: World) -> None:
    weights = tmp_path / "w.pth"
    torch.save(encoder(1), weights)
    recipe = with_weights(weights)
    with pytest.raises(StopRequested):
        train(training(recipe, dataset, tmp_path / "run"), world, AfterSteps(1))
    run = run_directory.load(tmp_path / "run")
    assert run.encoder_sha256 == first_weights(recipe)
    torch.save(encoder(2), weights)
    # Fold 0 has a checkpoint and needs no other weights; fold 1 has not begun.
    refused = pytest.raises(UserError, match=rf"w\.pth has SHA-256 .* now; expected {run.encoder_sha256[:12]}.*restore")
    with refused:
        train(training(recipe, dataset, tmp_path / "run"), world, Never())
    assert run.unfinished_folds == [1]


def test_random_weights_have_no_digest() -> None:
    assert first_weights(RECIPE) == ""
