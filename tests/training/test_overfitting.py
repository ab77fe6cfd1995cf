"""Every network, loss and precision can learn one batch by heart, through the train step itself.

The least possible loss of each term is 0: a mask that is right in every pixel, and empty where the truth is empty.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from training_runs import shrunk

from pneumo.distributed.world import World
from pneumo.inference.config import Precision
from pneumo.loading.contract import Batch
from pneumo.modeling.config import ModelConfig
from pneumo.modeling.losses.loss import SUMS
from pneumo.modeling.losses.registry import TERMS, LossConfig
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import RECIPES
from pneumo.training.train_state import TrainState

RATE = 1e-2
REMAINS = 0.01
"""Part of the first loss at which the batch counts as learned."""


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Return dark noise with a brighter rectangle in two of four images, and the rectangles' masks."""
    mask = torch.zeros(4, 1, 32, 32)
    mask[0, 0, 4:16, 6:20] = mask[2, 0, 18:28, 10:24] = 1
    noise = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    return 0.3 * noise + 0.5 * mask, mask


IMAGE, MASK = images()
BASE = replace(shrunk("debug"), micro_batch_size=4)


def with_loss(**weights: Any) -> Recipe:
    """Return the recipe with the named weights; those of all other terms are 0."""
    return replace(BASE, loss=LossConfig(**{**dict.fromkeys(TERMS, 0.0), **weights}))


def with_model(**changes: Any) -> Recipe:
    return replace(BASE, model=replace(BASE.model, **changes))


def named(name: str) -> Recipe:
    """Return the loss, the optimizer, the clipping and the network of a named recipe, with a tiny encoder."""
    return replace(shrunk(name), micro_batch_size=4, precision="fp32", consistency=ConsistencyConfig())


def overfit(recipe: Recipe, world: World, *, images: Sequence[int] = (0, 1, 2, 3), steps: int = 60) -> None:
    """Train on some images until their loss is nearly the least possible, and look at the masks predicted then."""
    recipe = replace(recipe, batch_size=len(images), micro_batch_size=len(images))
    state = TrainState(recipe, 7, world, world)
    image, mask = (maps[list(images)].to(world.device) for maps in (IMAGE, MASK))
    losses = []
    for step in range(steps):
        result = state.step([Batch(image=image, mask=mask, rows=np.array(images))], step, RATE)
        losses.append(result.loss_sums[SUMS.index("total")].item())
        if losses[-1] < REMAINS * losses[0]:
            break
    else:
        pytest.fail(f"{losses[0]:.4f} at first, {losses[-1]:.4f} after {steps} steps")
    with torch.no_grad(), state.autocast():
        output = state.model(image)
    assert ((output.logits > 0) == (mask > 0)).float().mean() > 0.995
    if recipe.loss.presence:
        assert output.presence_logit is not None
        assert torch.equal(output.presence_logit > 0, mask.flatten(1).any(dim=1))


@pytest.mark.parametrize(
    ("recipe", "images"),
    [
        pytest.param(with_loss(bce=1.0), (0, 1, 2, 3), id="bce"),
        pytest.param(with_loss(dice=1.0), (0, 2), id="dice"),
        pytest.param(with_loss(focal=1.0), (0, 1, 2, 3), id="focal"),
        pytest.param(with_loss(log_dice=1.0), (0, 1, 2, 3), id="log_dice"),
        pytest.param(with_loss(bce=1.0, presence=1.0), (0, 1, 2, 3), id="presence"),
    ],
)
def test_every_term_of_the_loss_learns_a_batch(recipe: Recipe, images: Sequence[int], world: World) -> None:
    overfit(recipe, world, images=images)


def test_no_term_of_the_loss_is_left_out() -> None:
    assert {"bce", "dice", "focal", "log_dice", "presence"} == set(TERMS)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [with_loss(dice=1.0), named("seed")], ids=["dice", "seed"])
def test_dice_of_an_empty_mask_is_learned_after_that_of_the_others(recipe: Recipe, world: World) -> None:
    """Its gradient, p (1 - p) s / (|p| + s)^2 in each pixel, is thousands of times smaller while |p| is 300 pixels and
    s an eighth of one: it comes to bear when Adam's second moments have forgotten the gradients of positive images.
    """
    overfit(recipe, world, steps=600)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name in RECIPES if name != "seed" and not name.startswith("winner-")))
def test_every_named_recipe_learns_a_batch(name: str, world: World) -> None:
    """By its own loss, optimizer, clipping and attention."""
    overfit(named(name), world)


@pytest.mark.parametrize(
    "precision", ["bf16", *(pytest.param(name, marks=pytest.mark.gpu) for name in ("fp32", "bf16", "fp16"))]
)
def test_every_precision_learns_a_batch(precision: Precision, world: World) -> None:
    """By all terms of the loss; fp32 on a CPU is what all the others run in."""
    every = LossConfig(bce=3.0, dice=1.0, dice_on="positive", focal=4.0, presence=0.2)
    overfit(replace(BASE, loss=every, precision=precision), world)


ENCODERS = sorted({recipe().model.encoder for recipe in RECIPES.values()} | {"resnet34"})
DECODERS = list(itertools.product(get_args(get_type_hints(ModelConfig)["architecture"]), ["none", "scse"]))
NETWORKS = [(encoder, *DECODERS[i % len(DECODERS)], i % 2 == 0) for i, encoder in enumerate(ENCODERS)]


@pytest.mark.parametrize(("architecture", "attention"), [("unetplusplus", "scse")])
def test_a_decoder_learns_a_batch(architecture: Any, attention: Any, world: World) -> None:
    overfit(with_model(architecture=architecture, attention=attention), world)


def test_every_decoder_has_its_encoder() -> None:
    assert {network[1:3] for network in NETWORKS} == set(DECODERS)


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "architecture", "attention", "presence_head"), NETWORKS)
def test_every_network_learns_a_batch(
    encoder: str, architecture: Any, attention: Any, presence_head: bool, world: World
) -> None:
    """The encoders of the named recipes and the default one, and every decoder, with a presence head and without."""
    loss = LossConfig(bce=1.0, dice=1.0, dice_on="positive", presence=0.1 * presence_head)
    model = ModelConfig(
        encoder=encoder,
        encoder_weights="none",
        architecture=architecture,
        attention=attention,
        presence_head=presence_head,
    )
    overfit(replace(BASE, model=model, loss=loss), world)
