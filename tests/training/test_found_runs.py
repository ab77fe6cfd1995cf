from dataclasses import replace
from pathlib import Path

import pytest

from pneumo.runtime.errors import UserError
from pneumo.training.found_runs import group
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import debug, demo
from pneumo.training.run_directory import DatasetIdentity, RunDirectory

DATASET = DatasetIdentity(digest="d", folds_digest="f", num_folds=2, grouped_by="none", patients=4)


def run(path: str, recipe: Recipe, seed: int = 0) -> RunDirectory:
    return RunDirectory(path=Path(path), recipe=replace(recipe, seed=seed), dataset=DATASET, encoder_sha256="")


def test_runs_that_differ_in_the_seed_alone_are_one_variant() -> None:
    runs = [run("a/one-seed-3", debug(), 3), run("two", demo()), run("b/x", debug(), 1)]
    assert group(runs) == {"one": [runs[0], runs[2]], "two": [runs[1]]}


def test_names_that_are_there_twice_are_paths() -> None:
    runs = [run("a/run", debug()), run("b/run", demo())]
    assert list(group(runs)) == ["a/run", "b/run"]


def test_the_same_recipe_and_seed_is_refused() -> None:
    with pytest.raises(UserError, match="a and c have the same recipe and the same seed"):
        group([run("a", debug()), run("b", demo()), run("c", debug())])
