"""The training step, and its limit: forward, backward and optimizer of the same network, and nothing else.

The step adds the loss's terms for every image, batch statistics that do not depend on the number of ranks, clipping,
EMA, and the seeding that makes a resumed run equal.
"""

import numpy as np
import torch
import torch.nn.functional as F

from pneumo.bench.comparison import Comparison, per_second
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import time_in_turns
from pneumo.distributed.device import resolve_precision
from pneumo.distributed.startup import init
from pneumo.distributed.world import World
from pneumo.inference.build import make_autocast
from pneumo.loading.contract import Batch
from pneumo.modeling import models
from pneumo.modeling.config import ModelConfig
from pneumo.modeling.losses.registry import LossConfig
from pneumo.training.recipe import Recipe
from pneumo.training.train_state import TrainState

STEPS = 4
"""Optimizer steps in a round on a CPU."""
GPU_STEPS = 20
"""Optimizer steps in a round on a GPU."""
GPU_SIZE = 512
GPU_BATCH = 16


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Train a small network; on a GPU also the recipes' two at 512 pixels, in bf16 where the device has it."""
    world = init()
    networks = [("mobilenet_v2", settings.train_size, 4)]
    if world.device.type == "cuda":
        networks += [(encoder, GPU_SIZE, GPU_BATCH) for encoder in ("resnet34", "se_resnext50_32x4d")]
    return [_measure(encoder, size, batch, settings.repeat, world) for encoder, size, batch in networks]


def _measure(encoder: str, size: int, batch_size: int, repeat: int, world: World) -> Comparison:
    recipe = Recipe(
        model=ModelConfig(encoder=encoder),
        loss=LossConfig(bce=3.0, dice=1.0, dice_on="positive", presence=0.2),
        image_size=(size,),
        batch_size=batch_size,
        micro_batch_size=batch_size,
    )
    steps = GPU_STEPS if world.device.type == "cuda" else STEPS
    batch = draw(batch_size, size, world.device)
    state, bare = TrainState(recipe, 0, world, world), BareStep(recipe, world)

    def ours() -> None:
        for step in range(steps):
            state.step([batch], step, 1e-4)
        _wait(world)

    def limit() -> None:
        for _ in range(steps):
            bare.step(batch)
        _wait(world)

    seconds = time_in_turns([ours, limit], repeat)
    precision = resolve_precision(recipe.precision, world.device)
    what = f"step of unet-{encoder}, {size} px, batch {batch_size}, {precision}, {world.device.type}"
    return per_second(
        "train",
        what,
        "bare step",
        "img/s",
        ours=seconds[0],
        theirs=seconds[1],
        items=steps * batch_size,
    )


class BareStep:
    """The limit: the same network, one loss on the mask, AdamW."""

    def __init__(self, recipe: Recipe, world: World) -> None:
        self.autocast = make_autocast(recipe.precision, world.device)
        memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.model = models.build(recipe.model).to(world.device).to(memory_format=memory_format).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    def step(self, batch: Batch) -> None:
        """Run one step."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            output = self.model(batch.image)
        loss = F.binary_cross_entropy_with_logits(output.logits.float(), batch.mask)
        torch.autograd.backward(loss)
        self.optimizer.step()


def draw(images: int, size: int, device: torch.device) -> Batch:
    """Return a fixed random batch on the device; one pixel in a hundred is inside."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((images, 1, size, size), generator=generator)
    mask = (torch.rand((images, 1, size, size), generator=generator) < 0.01).float()
    return Batch(image=image.to(device), mask=mask.to(device), rows=np.arange(images))


def _wait(world: World) -> None:
    """Wait until the device has finished."""
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
