"""Optimizers: their groups, their weight decay, and their first step against its closed form."""

from typing import Any

import pytest
import torch
from torch import nn

from pneumo.training import optimizer
from pneumo.training.recipe import Recipe

RATE, DECAY = 0.01, 0.1


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(5, 2))


def recipe(name: Any) -> Recipe:
    return Recipe(optimizer=name, weight_decay=DECAY)


def test_only_matrices_and_kernels_decay() -> None:
    model = network()
    decayed, others = optimizer.build(model, recipe("adamw")).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [names[id(p)] for p in decayed["params"]] == ["0.weight", "2.weight"]
    assert [names[id(p)] for p in others["params"]] == ["0.bias", "1.weight", "1.bias", "2.bias"]
    assert (decayed["weight_decay"], others["weight_decay"]) == (DECAY, 0.0)


def test_frozen_parameters_are_not_trained() -> None:
    model = network()
    model[0].requires_grad_(False)  # type: ignore[index]
    groups = optimizer.build(model, recipe("adamw")).param_groups
    assert [len(group["params"]) for group in groups] == [1, 3]


def test_every_group_gets_the_learning_rate() -> None:
    built = optimizer.build(network(), recipe("adamw"))
    assert [group["lr"] for group in built.param_groups] == [0.0, 0.0]
    optimizer.set_learning_rate(built, RATE)
    assert [group["lr"] for group in built.param_groups] == [RATE, RATE]


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("radam", torch.optim.RAdam)]
)
def test_the_recipe_names_the_optimizer(name: str, kind: type[torch.optim.Optimizer]) -> None:
    assert type(optimizer.build(network(), recipe(name))) is kind


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_the_first_step_moves_by_the_learning_rate_and_decays_matrices_alone(name: str) -> None:
    model = network()
    built = optimizer.build(model, recipe(name))
    optimizer.set_learning_rate(built, RATE)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    built.step()
    for n, parameter in model.named_parameters():
        assert parameter.grad is not None
        decay = DECAY if parameter.ndim > 1 else 0.0
        old, gradient = before[n], parameter.grad
        # Adam's first step is lr * sign(gradient); adam adds the decay to the gradient, adamw shrinks the weights.
        if name == "adam":
            expected = old - RATE * torch.sign(gradient + decay * old)
        else:
            expected = old * (1 - RATE * decay) - RATE * torch.sign(gradient)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-5)
