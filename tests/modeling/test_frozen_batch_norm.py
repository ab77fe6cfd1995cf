"""Frozen batch normalization: steps, averages and estimates leave its statistics and parameters to the bit."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pneumo.distributed.world import World
from pneumo.loading.contract import Batch
from pneumo.modeling.config import ModelConfig
from pneumo.modeling.frozen_batch_norm import freeze, is_frozen
from pneumo.training.batch_norm import estimate_statistics
from pneumo.training.recipes import RECIPES
from pneumo.training.train_state import TrainState

MODEL = ModelConfig(encoder="tu-test_resnet", presence_head=False)
RECIPE = replace(
    RECIPES["seed"](), model=MODEL, batch_size=6, micro_batch_size=2, freeze_encoder_norm=True, precision="fp32"
)


def micro_batch(index: int) -> Batch:
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(index))
    return Batch(image=image, mask=(image > 0.95).float(), rows=np.arange(2))


def encoder_norm(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what the encoder's batch normalization has."""
    found = {}
    for name, layer in model.net.encoder.named_modules():  # type: ignore[union-attr, operator]
        if isinstance(layer, _BatchNorm):
            found |= {f"{name}.{key}": value.clone() for key, value in layer.state_dict().items()}
    return found


@pytest.mark.parametrize("images_at_once", [2, 6])
def test_steps_and_estimates_leave_it_as_it_was_and_train_the_rest(world: World, images_at_once: int) -> None:
    state = TrainState(RECIPE, 7, world, world, images_at_once)
    first, before = encoder_norm(state.model), copy.deepcopy(state.model.state_dict())
    assert len(first) >= 5
    for step in range(3):
        state.step([micro_batch(3 * step + index) for index in range(3)], step, 1e-2)
    images = [micro_batch(index).image for index in range(3)]
    estimate_statistics(state.averaged, images, 3, world, state.autocast)
    for model in (state.model, state.averaged):
        assert all(torch.equal(value, first[name]) for name, value in encoder_norm(model).items())
    after = state.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any(name.startswith("net.encoder") and name.endswith("weight") for name in changed)
    assert any(name.startswith("net.decoder") and name.endswith("running_var") for name in changed)


def test_it_normalizes_by_its_statistics_while_the_network_trains() -> None:
    layer = nn.BatchNorm2d(3)
    nn.init.uniform_(layer.running_mean)  # type: ignore[arg-type]
    network = nn.Sequential(layer).train()
    freeze(network)
    image = torch.rand(4, 3, 5, 5)
    mean, deviation = layer.running_mean, (layer.running_var + layer.eps).sqrt()  # type: ignore[operator]
    expected = (image - mean[:, None, None]) / deviation[:, None, None]  # type: ignore[index]
    torch.testing.assert_close(network(image), expected)
    assert is_frozen(copy.deepcopy(layer))
    assert not is_frozen(nn.BatchNorm2d(3))
