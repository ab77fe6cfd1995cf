"""Recipes as JSON, what may be missing there, and the differences of two."""

import functools
import json
import operator
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pneumo.modeling.config import ModelConfig
from pneumo.runtime import config
from pneumo.runtime.errors import UserError
from pneumo.training import variants
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import NEWER_FIELDS, add_newer_entries, differences, flags, to_json
from pneumo.training.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_survives_the_record(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert config.from_json(Recipe, json.loads(json.dumps(to_json(recipe))), "recipe") == recipe


def test_differences_name_nested_fields() -> None:
    old, new = Recipe(seed=1), Recipe(seed=2, model=ModelConfig(encoder="mobilenet_v2"))
    assert differences(to_json(old), to_json(new)) == ["model.encoder: 'resnet34' -> 'mobilenet_v2'", "seed: 1 -> 2"]
    assert differences(to_json(old), to_json(old)) == []


def test_flags_make_a_recipe_the_recorded_one() -> None:
    recorded = replace(
        RECIPES["best"](), epochs=(1, 2), positive_rate=(), final_positive_rate=(), compile=True, channels_last=False
    )
    recorded = replace(recorded, model=replace(recorded.model, presence_input="encoder", encoder_weights="a b.pth"))
    found = flags(to_json(recorded), to_json(RECIPES["best"]()))
    assert "--model.presence-input encoder" in found
    assert variants._recipe(["--recipe", "best", *shlex.split(found)], "the test") == (recorded, None)
    assert flags(to_json(recorded), to_json(recorded)) == ""


def test_a_record_with_unknown_fields_is_refused() -> None:
    with pytest.raises(UserError, match=r"recipe\.dropout is an unknown field"):
        config.from_json(Recipe, {**to_json(Recipe()), "dropout": 0.5}, "recipe")


def without(path: str) -> dict[str, Any]:
    """Return the values of the default recipe without one field."""
    values = to_json(Recipe())
    *groups, name = path.split(".")
    del functools.reduce(operator.getitem, groups, values)[name]
    return values


def paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{name}.")


NEWER = {"loss.focal", "loss.log_dice", "loss.presence", "augmentation.distortion"}
"""Entries of the two registries that are off by default."""


@pytest.mark.parametrize("path", sorted(NEWER))
def test_an_entry_of_a_registry_that_is_off_by_default_may_be_missing(path: str) -> None:
    values = without(path)
    assert config.from_json(Recipe, add_newer_entries(values), "recipe") == Recipe()
    assert values == without(path), "the values that were read stay as they are"


def test_a_term_that_is_missing_brings_its_options() -> None:
    values = without("loss.focal")
    del values["loss"]["focal_gamma"]
    assert add_newer_entries(values) == to_json(Recipe())


@pytest.mark.parametrize("path", sorted(NEWER_FIELDS))
def test_a_newer_field_that_is_missing_has_the_value_of_older_versions(path: str) -> None:
    values = without(path)
    read = to_json(config.from_json(Recipe, add_newer_entries(values), "recipe"))
    *groups, name = path.split(".")
    group = functools.reduce(operator.getitem, groups, read)
    assert group[name] == NEWER_FIELDS[path]
    group[name] = functools.reduce(operator.getitem, path.split("."), to_json(Recipe()))
    assert read == to_json(Recipe()), "and no other field is another one"
    assert values == without(path), "the values that were read stay as they are"


def test_a_newer_field_that_is_recorded_stays() -> None:
    values = to_json(Recipe(model=ModelConfig(presence_input="both")))
    assert add_newer_entries(values) == values


@pytest.mark.parametrize("path", sorted(set(paths(to_json(Recipe()))) - NEWER - NEWER_FIELDS.keys()))
def test_every_other_field_must_be_there(path: str) -> None:
    with pytest.raises(UserError, match=rf"^recipe\.{path} (is missing|is None)"):
        config.from_json(Recipe, add_newer_entries(without(path)), "recipe")


OF_THE_RECIPE = {path: value for path, value in NEWER_FIELDS.items() if "." not in path}


@pytest.mark.parametrize(
    "values", [None, [], "x", OF_THE_RECIPE | {"loss": None}, OF_THE_RECIPE | {"augmentation": [1]}]
)
def test_what_is_no_recipe_stays_as_it_is(values: object) -> None:
    assert add_newer_entries(values) == values
