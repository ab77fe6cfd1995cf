"""Normalization by groups against a forward pass for each group."""

import copy

import pytest
import torch
from torch import nn

from pneumo.modeling.frozen_batch_norm import freeze
from pneumo.modeling.ghost_batch_norm import GhostBatchNorm2d, normalize_by_groups, why_one_group

GROUP = 2
MOMENTUM = 0.3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=MOMENTUM), nn.ReLU(), nn.Conv2d(3, 2, 3)
    ).train()


def images(count: int) -> torch.Tensor:
    """Images whose groups have other means and variances."""
    generator = torch.Generator().manual_seed(1)
    scale = torch.arange(1.0, count + 1).view(-1, 1, 1, 1)
    return scale * torch.rand(count, 1, 8, 8, generator=generator) + scale


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_groups_of_one_pass_are_passes_of_their_own(memory_format: torch.memory_format) -> None:
    alone = network().to(memory_format=memory_format)
    together = copy.deepcopy(alone)
    normalize_by_groups(together, GROUP)
    batch = images(6)
    output = together(batch)
    assert output.is_contiguous(memory_format=memory_format)
    output.square().sum().backward()
    statistics = []
    start = copy.deepcopy(alone[1].state_dict())
    for index, group in enumerate(batch.split(GROUP)):
        alone[1].load_state_dict(start)
        expected = alone(group)
        torch.testing.assert_close(output[GROUP * index : GROUP * (index + 1)], expected, rtol=1e-5, atol=1e-5)
        expected.square().sum().backward()
        statistics.append([alone[1].running_mean.clone(), alone[1].running_var.clone()])  # type: ignore[union-attr, operator]
    for mine, other in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-3)
    for mine, groups in zip(
        (together[1].running_mean, together[1].running_var), zip(*statistics, strict=True), strict=True
    ):
        torch.testing.assert_close(mine, torch.stack(groups).mean(dim=0), rtol=1e-5, atol=1e-6)
    assert together[1].num_batches_tracked == 1


@pytest.mark.parametrize("training", [True, False])
def test_one_group_and_evaluation_are_torch_s_own(training: bool) -> None:
    plain = network().train(training)
    ghost = copy.deepcopy(plain)
    normalize_by_groups(ghost, GROUP)
    assert isinstance(copy.deepcopy(ghost)[1], GhostBatchNorm2d)
    batch = images(GROUP if training else 5)
    assert torch.equal(ghost(batch), plain(batch))
    assert ghost.state_dict().keys() == plain.state_dict().keys()
    assert all(map(torch.equal, ghost.state_dict().values(), plain.state_dict().values()))


class Activated(nn.BatchNorm2d):
    """As timm's: with more than the normalization in it."""


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.BatchNorm2d(3), ""),
        (nn.GroupNorm(1, 3), ""),
        (nn.Dropout(0.0), ""),
        (Activated(3), "its normalization layers are Activated"),
        (nn.BatchNorm2d(3, track_running_stats=False), "its normalization layers are BatchNorm2d"),
        (nn.BatchNorm2d(3, momentum=None), "its normalization layers are BatchNorm2d"),
        (nn.Dropout(0.5), "it draws random numbers (dropout)"),
    ],
)
def test_what_a_pass_of_several_groups_would_change_is_named(layer: nn.Module, reason: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), layer).train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert why_one_group(model) == reason
    assert torch.equal(torch.get_rng_state(), random)
    assert all(map(torch.equal, model.state_dict().values(), before.values()))


def test_frozen_layers_of_any_kind_stay_as_they_are_and_do_not_keep_the_others_from_groups() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), Activated(3), nn.BatchNorm2d(3)).train()
    assert why_one_group(model) == "its normalization layers are Activated"
    freeze(model[1])
    assert why_one_group(model) == ""
    normalize_by_groups(model, GROUP)
    assert [type(layer) for layer in model] == [nn.Conv2d, Activated, GhostBatchNorm2d]
