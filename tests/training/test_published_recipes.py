"""The recipes of others against their published settings, which are written here once more, from their own files."""

from typing import Any

import pytest

from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import to_json
from pneumo.training.recipes import RECIPES

FLIP_TTA = ["hflip"]
PUBLISHED: dict[str, dict[str, Any]] = {
    # The configuration resnet34_768_unet and its transforms: .9 (3 BCE + Dice) + .1 BCE of the head.
    "fourth": {
        "model": {"architecture": "unet", "encoder": "resnet34", "presence_head": True, "presence_input": "encoder"},
        "loss": {
            "bce": 2.7, "dice": 0.9, "presence": 0.1, "focal": 0.0, "log_dice": 0.0, "dice_over": "micro-batch"
        },
        "augmentation": {
            "flip": {"probability": 0.5},
            "affine": {"probability": 0.5, "translate": 0.2, "scale": 0.2, "rotate_deg": 20.0},
            "distortion": {"probability": 0.3},
        },
        "epochs": [60], "image_size": [768], "crop_size": [512], "batch_size": 8, "micro_batch_size": 8,
        "positive_rate": [0.8], "final_positive_rate": [0.22],
        "optimizer": "adam", "learning_rate": [7.5e-5], "weight_decay": 1e-5, "cosine_epochs": 8, "warmup_epochs": 0.0,
        "freeze_encoder_norm": True, "best_checkpoints": 4, "keep": "best", "tta": FLIP_TTA, "ema_decay": 0.0,
    },
    # train_semi.py, its model.py and transform.py.
    "fifth": {
        "model": {"architecture": "unet", "encoder": "se_resnext50_32x4d", "presence_head": True},
        "loss": {"bce": 1024.0, "dice": 0.0, "focal": 0.0, "log_dice": 0.0, "presence": 1.0},
        "augmentation": {
            "flip": {"probability": 0.5},
            "affine": {"probability": 1.0, "scale": 0.15, "rotate_deg": 25.0},
            "distortion": {"probability": 0.0},
        },
        "consistency": {"images": 4, "weight": 2.0, "presence_weight": 0.002},
        "image_size": [1024], "crop_size": [], "batch_size": 16, "micro_batch_size": 4, "positive_rate": [0.5],
        "optimizer": "adam", "learning_rate": [3e-4], "weight_decay": 1e-4, "warmup_epochs": 0.0,
        "final_lr_factor": 1.0, "schedule": ["cosine"], "clip_norm": 10.0, "ema_decay": 0.999, "keep": "best",
        "tta": FLIP_TTA,
    },
    # The bronze-medal notebook, as the recipe's docstring describes it; its file was not at hand.
    "seed": {
        "model": {
            "architecture": "unet", "encoder": "se_resnext50_32x4d", "encoder_weights": "imagenet",
            "presence_head": False,
        },
        "loss": {"bce": 0.0, "dice": 0.0, "focal": 10.0, "focal_gamma": 2.0, "log_dice": 1.0, "presence": 0.0},
        "epochs": [40], "image_size": [512], "crop_size": [], "batch_size": 32, "micro_batch_size": 4,
        "positive_rate": [], "optimizer": "radam", "learning_rate": [5e-4], "min_component": 3501.0, "tta": [],
        "ema_decay": 0.0,
    },
}  # fmt: skip
LOSSES = {
    "winner": (3.0, 1.0, 4.0),
    "winner-resnet34": (3.0, 1.0, 4.0),
    "winner-resnet34-even": (1.0, 1.0, 1.0),
    "winner-resnet50": (2.0, 1.0, 2.0),
    "winner-se_resnext50": (3.0, 1.0, 4.0),
}
"""Weights of BCE, Dice and focal loss in the 1st place's experiments."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_settings(name: str) -> None:
    assert differences(PUBLISHED[name], to_json(RECIPES[name]())) == []


@pytest.mark.parametrize("name", LOSSES)
def test_the_winner_s_loss_and_augmentation(name: str) -> None:
    recipe: Recipe = RECIPES[name]()
    loss, augmentation = recipe.loss, recipe.augmentation
    assert (loss.bce, loss.dice, loss.focal) == LOSSES[name]
    assert (loss.focal_gamma, loss.log_dice, loss.presence, loss.dice_over) == (2.0, 0.0, 0.0, "micro-batch")
    assert to_json(recipe)["augmentation"] == {
        "flip": {"probability": 0.5},
        "intensity": {"probability": 0.3, "contrast": 0.2, "gamma": 0.2, "brightness": 0.2},
        "distortion": {"probability": 0.3},
        "affine": {"probability": 0.5, "translate": 0.0625, "scale": 0.1, "rotate_deg": 45.0},
        "rng_scheme": augmentation.rng_scheme,
    }


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return the entries of the first that the second has otherwise."""
    wrong = []
    for key, value in expected.items():
        if isinstance(value, dict):
            wrong += [f"{key}.{each}" for each in differences(value, found[key])]
        elif found[key] != value:
            wrong.append(f"{key}: {value} -> {found[key]}")
    return wrong
