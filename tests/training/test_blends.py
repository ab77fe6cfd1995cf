"""Named blends: of recipes that there are, and the winner's as it was published."""

import pytest

from pneumo.training.blends import BLENDS
from pneumo.training.recipes import RECIPES


@pytest.mark.parametrize("name", BLENDS)
def test_a_blend_has_different_recipes_and_is_no_recipe_itself(name: str) -> None:
    members = BLENDS[name]()
    assert {member.recipe for member in members} <= set(RECIPES)
    assert len({member.recipe for member in members}) == len(members) > 1
    assert all(member.weight > 0 for member in members)
    assert name not in RECIPES


def test_the_winner_s_experiments() -> None:
    """Encoder, attention, weights of BCE, Dice and focal loss, and share in the final submission."""
    found = []
    for member in BLENDS["winner-blend"]():
        recipe = RECIPES[member.recipe]()
        assert recipe.name == member.recipe
        loss = (recipe.loss.bce, recipe.loss.dice, recipe.loss.focal)
        found.append((recipe.model.encoder, recipe.model.attention, loss, member.weight))
    assert found == [
        ("resnet34", "none", (1, 1, 1), 0.4),
        ("resnet34", "none", (3, 1, 4), 0.2),
        ("se_resnext50_32x4d", "scse", (3, 1, 4), 0.2),
        ("resnet50", "none", (2, 1, 2), 0.2),
    ]


@pytest.mark.parametrize("name", ["winner", *(member.recipe for member in BLENDS["winner-blend"]())])
def test_the_stages_of_each_experiment(name: str) -> None:
    recipe = RECIPES[name]()
    stages = [(stage.image_size, stage.positive_rate, stage.learning_rate, stage.schedule) for stage in recipe.stages]
    at_1024 = [
        (1024, (0.8, 0.8), 1e-4, "plateau"),
        (1024, (0.6, 0.6), 1e-5, "cosine"),
        (1024, (0.4, 0.4), 1e-5, "cosine"),
    ]
    first = [] if name == "winner-resnet50" else [(512, (0.8, 0.8), 1e-4, "plateau")]
    assert stages == first + at_1024
    assert (recipe.batch_size, recipe.clip_norm, recipe.weight_decay, recipe.cosine_epochs) == (2, 0.1, 5e-6, 8)
    assert (recipe.best_checkpoints, recipe.keep, recipe.tta, recipe.ema_decay) == (3, "best", ("hflip",), 0.0)
