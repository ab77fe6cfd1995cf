"""The ensembler of finished runs has their settings, their weights and their blended rule."""

from dataclasses import replace
from pathlib import Path

import pytest
from finished_runs import finish_folds, tiny_recipe

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.inference.decision_rule import DecisionRule, write_rule
from pneumo.runtime.errors import UserError
from pneumo.training.ensemble import build_ensembler
from pneumo.training.run_directory import RunDirectory

RULES = (DecisionRule(200, 1000.0, 80, 0.5), DecisionRule(100, 2000.0, 100, 0.1))


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
    made = [finish_folds(directory / str(i), dataset, world, recipe, seed=i) for i, recipe in enumerate(recipes)]
    for run, rule in zip(made, RULES, strict=True):
        write_rule(run.thresholds, rule)
    return made


def test_runs_are_ensembled_with_their_recipes_settings(
    runs: list[RunDirectory], reader: ShardReader, world: World
) -> None:
    ensembler = build_ensembler(runs, (3.0, 1.0), reader=reader, world=world, workers=1, min_component=7.0)
    assert [run.config for run in ensembler.mean.runs] == [run.recipe.inference for run in runs]
    assert [run.weight for run in ensembler.mean.runs] == [0.75, 0.25]
    assert [[w.path for w in run.weights] for run in ensembler.mean.runs] == [
        [r.fold(k).model for k in (0, 1)] for r in runs
    ]
    rule = ensembler.rule
    assert (rule.top_bin, rule.min_area, rule.bottom_bin) == (175, 1250.0, 85)
    assert rule.presence_threshold == pytest.approx(0.4)
    assert ensembler.min_component == 7.0
    rows = reader.table.select("test")
    assert [p.image_id for p in ensembler.run(rows)] == reader.table.image_id[rows].tolist()


def test_flags_replace_the_recipes_settings_with_a_warning(
    runs: list[RunDirectory], reader: ShardReader, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    kept = build_ensembler(runs, reader=reader, world=world, workers=1, loader="opencv")
    assert not caplog.messages
    assert [run.config for run in kept.mean.runs] == [run.recipe.inference for run in runs]
    changed = build_ensembler(runs, reader=reader, world=world, workers=1, precision="bf16")
    assert [run.config for run in changed.mean.runs] == [
        replace(run.recipe.inference, precision="bf16") for run in runs
    ]
    text = "predicts with --precision bf16, but its rule was chosen with the recipe's"
    assert caplog.messages == [f"{run.path} {text} {run.recipe.precision}" for run in runs]


def test_a_run_without_a_rule_is_refused(dataset: Path, reader: ShardReader, world: World, tmp_path: Path) -> None:
    run = finish_folds(tmp_path / "run", dataset, world)
    with pytest.raises(UserError, match=r"thresholds\.json .*expected the decision rule of a finished run"):
        build_ensembler([run], reader=reader, world=world, workers=1)
