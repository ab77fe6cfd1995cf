"""What a recipe leaves open, settled when a run starts: precision, loader, and the encoder's first weights.

recipe.json records what ran. A run that is resumed or used on another device keeps its precision and its loader, so
that ``auto`` there does not make it another run; and its folds all start from the same weights.
"""

from dataclasses import replace

import torch

from pneumo.distributed import heartbeat
from pneumo.distributed.device import resolve_precision
from pneumo.loading.build import resolve_loader
from pneumo.modeling import models
from pneumo.modeling.encoder_digest import encoder_sha256
from pneumo.modeling.segmenter import Segmenter
from pneumo.runtime.errors import UserError
from pneumo.training.recipe import Recipe


def resolve_auto(recipe: Recipe, device: torch.device) -> Recipe:
    """Return the recipe with the precision and the loader that ``auto`` is on a device.

    Raises:
        UserError: When the device does not have the recipe's precision, or the machine not its loader.
    """
    return replace(
        recipe,
        precision=resolve_precision(recipe.precision, device),
        loader=resolve_loader(recipe.loader, device, recipe.augmentation),
    )


def first_weights(recipe: Recipe) -> str:
    """Return the digest of the encoder's first weights, which are read or downloaded; empty for random ones.

    Raises:
        UserError: When they cannot be read, downloaded or used.
        StartAgain: When the hub cannot be reached now.
    """
    if recipe.model.encoder_weights == "none":
        return ""
    heartbeat.touch("reading the encoder's first weights")
    return encoder_sha256(models.build(recipe.model).net.encoder)  # type: ignore[arg-type]


def check_first_weights(model: Segmenter, recipe: Recipe, expected: str) -> None:
    """Refuse to start a fold from other weights than those that the run was started with.

    Args:
        model: The network of a fold before its first step.
        recipe: The run's recipe.
        expected: Digest that the run recorded; empty = random weights, which each fold draws for itself.

    Raises:
        UserError: When the digest is another one.
    """
    found = encoder_sha256(model.net.encoder) if expected else ""  # type: ignore[arg-type]
    if found != expected:
        raise UserError(
            f"--model.encoder-weights {recipe.model.encoder_weights} has SHA-256 {found[:12]}... now",
            f"{expected[:12]}..., which the run was started with",
            "restore the weights, or give another --run",
        )
