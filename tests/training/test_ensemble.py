"""The mean of finished runs has their settings and their weights."""

from dataclasses import replace
from pathlib import Path

import pytest
from finished_runs import finish_folds, tiny_recipe

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.training.ensemble import build_mean
from pneumo.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture(scope="module")
def runs(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> list[RunDirectory]:
    recipes = (
        replace(tiny_recipe(), loader="opencv"),
        replace(tiny_recipe(), image_size=(64,), tta=(), channels_last=False, precision="fp32", loader="opencv"),
    )
    directory = tmp_path_factory.mktemp("runs")
    return [finish_folds(directory / str(i), dataset, world, recipe, seed=i) for i, recipe in enumerate(recipes)]


def test_runs_are_ensembled_with_their_recipes_settings(
    runs: list[RunDirectory], reader: ShardReader, world: World
) -> None:
    mean = build_mean(runs, (3.0, 1.0), reader=reader, world=world, workers=1)
    assert [run.config for run in mean.runs] == [run.recipe.inference for run in runs]
    assert [run.weight for run in mean.runs] == [0.75, 0.25]
    assert [[w.path for w in run.weights] for run in mean.runs] == [[r.fold(k).model for k in (0, 1)] for r in runs]


def test_flags_replace_the_recipes_settings_with_a_warning(
    runs: list[RunDirectory], reader: ShardReader, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    kept = build_mean(runs, reader=reader, world=world, workers=1, loader="opencv")
    assert not caplog.messages
    assert [run.config for run in kept.runs] == [run.recipe.inference for run in runs]
    changed = build_mean(runs, reader=reader, world=world, workers=1, precision="bf16")
    assert [run.config for run in changed.runs] == [replace(run.recipe.inference, precision="bf16") for run in runs]
    text = "predicts with --precision bf16, but its rule was chosen with the recipe's"
    assert caplog.messages == [f"{run.path} {text} {run.recipe.precision}" for run in runs]
