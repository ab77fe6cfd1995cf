"""The training step, and its limit: forward, backward and optimizer of the same network, and nothing else.

The step adds the loss's terms for every image, batch statistics that do not depend on the number of ranks, clipping,
EMA, and the seeding that makes a resumed run equal. It is also compared with the bare step as torch does it by default:
AdamW in one operation for each parameter (on a GPU: for a list of them), and, on a CPU, memory that goes back to the
system at each step. And several micro-batches in one forward pass with a pass for each. On a CPU a larger network is
also trained in bf16, where the processor multiplies it, and without the channels-last order.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from pneumo.bench.comparison import Comparison, per_second
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import time_in_turns
from pneumo.distributed.device import BF16_FEATURES, resolve_precision
from pneumo.distributed.startup import init
from pneumo.distributed.world import World
from pneumo.inference.build import make_autocast
from pneumo.loading.contract import Batch
from pneumo.modeling import models
from pneumo.modeling.config import ModelConfig
from pneumo.modeling.losses.registry import LossConfig
from pneumo.runtime.freed_memory import give_back_freed_memory, keep_freed_memory
from pneumo.runtime.machine import processor_features
from pneumo.training.recipe import Recipe
from pneumo.training.train_state import TrainState

STEPS = 4
"""Optimizer steps in a round on a CPU."""
CPU_STEPS = 2
"""Steps in a round of the larger network on a CPU."""
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
    compared = [
        comparison
        for encoder, size, batch in networks
        for measured in (_measure, _measure_passes)
        for comparison in measured(recipe_of(encoder, size, batch), settings.repeat, world)
    ]
    if world.device.type == "cpu":
        compared += _measure_on_cpu(recipe_of("resnet34", 2 * settings.train_size, 4), settings.repeat, world)
    return compared


def recipe_of(encoder: str, size: int, micro_batch_size: int, micro_batches: int = 1) -> Recipe:
    """Return a recipe with the losses of ``best``."""
    return Recipe(
        model=ModelConfig(encoder=encoder),
        loss=LossConfig(bce=3.0, dice=1.0, dice_on="positive", presence=0.2),
        image_size=(size,),
        batch_size=micro_batch_size * micro_batches,
        micro_batch_size=micro_batch_size,
    )


def _measure(recipe: Recipe, repeat: int, world: World) -> list[Comparison]:
    steps = _steps(world)
    batch = draw(recipe.batch_size, recipe.image_size[0], world.device)
    state, bare = TrainState(recipe, 0, world, world), BareStep(recipe, world)
    default = BareStep(recipe, world, fused=None)

    def ours() -> None:
        for step in range(steps):
            state.step([batch], step, 1e-4)
        _wait(world)

    def limit() -> None:
        for _ in range(steps):
            bare.step(batch)
        _wait(world)

    def defaults() -> None:
        give_back_freed_memory()
        for _ in range(steps):
            default.step(batch)
        _wait(world)
        keep_freed_memory()

    seconds = time_in_turns([ours, limit, defaults], repeat)
    what, items = describe(recipe, world), steps * recipe.batch_size
    baselines = ("bare step", "bare step, torch's defaults")
    return [
        per_second("train", what, baseline, "img/s", ours=seconds[0], theirs=theirs, items=items)
        for baseline, theirs in zip(baselines, seconds[1:], strict=True)
    ]


def _measure_passes(recipe: Recipe, repeat: int, world: World) -> list[Comparison]:
    """Compare a step of two micro-batches in one forward pass with a pass for each."""
    recipe, steps = replace(recipe, batch_size=2 * recipe.batch_size), _steps(world)
    batches = [draw(recipe.micro_batch_size, recipe.image_size[0], world.device)] * 2

    def steps_of(images_at_once: int) -> Callable[[], None]:
        state = TrainState(recipe, 0, world, world, images_at_once)

        def work() -> None:
            for step in range(steps):
                state.step(batches, step, 1e-4)
            _wait(world)

        return work

    together, alone = time_in_turns([steps_of(recipe.batch_size), steps_of(recipe.micro_batch_size)], repeat)
    what, items = f"{describe(recipe, world)}, in one pass", steps * recipe.batch_size
    baseline = f"in passes of {recipe.micro_batch_size}"
    return [per_second("train", what, baseline, "img/s", ours=together, theirs=alone, items=items)]


def _measure_on_cpu(recipe: Recipe, repeat: int, world: World) -> list[Comparison]:
    """Compare the step as it is by default with one in bf16 and with images in the order of channels, rows, columns."""
    recipes = {"": recipe, "order of channels first": replace(recipe, channels_last=False)}
    if processor_features() & BF16_FEATURES:
        recipes["bf16"] = replace(recipe, precision="bf16")
    batch = draw(recipe.batch_size, recipe.image_size[0], world.device)

    def steps_of(recipe: Recipe) -> Callable[[], None]:
        state = TrainState(recipe, 0, world, world)

        def work() -> None:
            for step in range(CPU_STEPS):
                state.step([batch], step, 1e-4)

        return work

    ours, *others = time_in_turns([steps_of(other) for other in recipes.values()], repeat)
    what, items = describe(recipe, world), CPU_STEPS * recipe.batch_size
    return [
        per_second("train", what, f"the same, {name}", "img/s", ours=ours, theirs=theirs, items=items)
        for name, theirs in zip(list(recipes)[1:], others, strict=True)
    ]


def _steps(world: World) -> int:
    return GPU_STEPS if world.device.type == "cuda" else STEPS


def describe(recipe: Recipe, world: World) -> str:
    """Return what is trained, and on what."""
    precision = resolve_precision(recipe.precision, world.device)
    size, batch = recipe.image_size[0], recipe.batch_size
    return f"step of unet-{recipe.model.encoder}, {size} px, batch {batch}, {precision}, {world.device.type}"


class BareStep:
    """The limit: the same network, one loss on the mask, AdamW (``fused=None``: as torch chooses)."""

    def __init__(self, recipe: Recipe, world: World, *, fused: bool | None = True) -> None:
        self.autocast = make_autocast(recipe.precision, world.device)
        memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.model = models.build(recipe.model).to(world.device).to(memory_format=memory_format).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=fused)

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
