"""Optimizers: their groups, their weight decay, their first step against its closed form, and loading their state."""

import copy
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


def trained(built: torch.optim.Optimizer, model: nn.Module, steps: int) -> dict[str, torch.Tensor]:
    """Do some steps with given gradients; return the weights."""
    optimizer.set_learning_rate(built, RATE)
    generator = torch.Generator().manual_seed(steps)
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))
        built.step()
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("name", ["adamw", "adam", "radam"])
@pytest.mark.parametrize("saved_format", [torch.contiguous_format, torch.channels_last])
def test_a_state_continues_whether_it_was_fused_and_however_it_lay_in_memory(
    name: str, saved_format: torch.memory_format
) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    built = optimizer.build(model, recipe(name))
    trained(built, model, 3)
    state = copy.deepcopy(built.state_dict())
    for group in state["param_groups"]:
        group["fused"] = None
    for moments in state["state"].values():
        # Version 0.1 kept it on the CPU.
        moments["step"] = moments["step"].cpu()
        for key, moment in moments.items():
            if moment.ndim == 4:
                moments[key] = moment.contiguous(memory_format=saved_format)
    resumed = copy.deepcopy(model)
    other = optimizer.build(resumed, recipe(name))
    fused = [group.get("fused") for group in other.param_groups]
    optimizer.load(other, state)
    assert [group.get("fused") for group in other.param_groups] == fused
    expected, weights = trained(built, model, 2), trained(other, resumed, 2)
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_a_fused_state_continues_without_fusion(name: str, kind: type[torch.optim.Optimizer]) -> None:
    """The fused and the plain update agree within rounding, and a state is that of both."""
    model = network()
    built = optimizer.build(model, recipe(name))
    trained(built, model, 3)
    plain_model = copy.deepcopy(model)
    groups = [group | {"fused": False} for group in optimizer.build(plain_model, recipe(name)).param_groups]
    plain = kind(groups)  # type: ignore[call-arg]
    optimizer.load(plain, copy.deepcopy(built.state_dict()))
    assert [group["fused"] for group in plain.param_groups] == [False, False]
    expected, weights = trained(plain, plain_model, 4), trained(built, model, 4)
    for key, value in expected.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-5, atol=1e-6)
