"""The flags of a recipe: --recipe names one, and each of its fields is a flag whose default is that recipe's value."""

import argparse
from collections.abc import Sequence

from pneumo.runtime.errors import UserError
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import RECIPES

DEFAULT = "best"
RENAMED_FLAGS = {
    "--model.empty-head": "--model.presence-head",
    "--model.no-empty-head": "--model.no-presence-head",
    "--loss.empty": "--loss.presence",
    "--augmentation.hflip": "--augmentation.flip.probability",
    "--augmentation.affine": "--augmentation.affine.probability",
    "--augmentation.shift": "--augmentation.affine.translate",
    "--augmentation.scale": "--augmentation.affine.scale",
    "--augmentation.rotate-deg": "--augmentation.affine.rotate-deg",
    "--augmentation.tone": "--augmentation.intensity.probability",
    "--augmentation.contrast": "--augmentation.intensity.contrast",
    "--augmentation.gamma": "--augmentation.intensity.gamma",
    "--augmentation.brightness": "--augmentation.intensity.brightness",
    "--augmentation.distort": "--augmentation.distortion.probability",
}
"""Flags of version 0.1, and what replaced them; CHANGELOG.md has the same table."""

MISTAKEN_FLAGS = {
    "--lr": "--learning-rate",
    "--encoder": "--model.encoder",
    "--architecture": "--model.architecture",
}
"""Flags that people try, and what they mean."""


def recipe_name(argv: Sequence[str]) -> str:
    """Return the name that the words of a command line give with --recipe."""
    recipe_flag = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # A missing value is left to the full parser, whose message has the flag's help.
    recipe_flag.add_argument("--recipe", nargs="?", const=DEFAULT, default=DEFAULT)
    return str(recipe_flag.parse_known_args(argv)[0].recipe)


def named_recipe(argv: Sequence[str], also: Sequence[str] = ()) -> Recipe:
    """Return the recipe that the words of a command line name, without the other flags' changes.

    Args:
        argv: The words.
        also: Other names that the flag takes, for the message.

    Raises:
        UserError: When there is none of this name.
    """
    name = recipe_name(argv)
    if name not in RECIPES:
        raise UserError(f"--recipe {name}", f"one of {', '.join([*RECIPES, *also])}", "correct --recipe")
    return RECIPES[name]()
