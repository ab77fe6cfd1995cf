"""Recipes as JSON, and the differences of two."""

import json

import pytest

from pneumo.modeling.models import ModelConfig
from pneumo.runtime.errors import UserError
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import differences, from_json, to_json
from pneumo.training.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_survives_the_record(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe


def test_differences_name_nested_fields() -> None:
    old, new = Recipe(seed=1), Recipe(seed=2, model=ModelConfig(encoder="mobilenet_v2"))
    assert differences(to_json(old), to_json(new)) == ["model.encoder: 'resnet34' -> 'mobilenet_v2'", "seed: 1 -> 2"]
    assert differences(to_json(old), to_json(old)) == []


def test_a_record_with_unknown_fields_is_refused() -> None:
    with pytest.raises(UserError, match=r"recipe\.dropout is an unknown field"):
        from_json({**to_json(Recipe()), "dropout": 0.5})
