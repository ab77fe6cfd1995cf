"""Running statistics of a step against their closed form, for one rank and for several."""

from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from pneumo.distributed.collectives import Group
from pneumo.training.batch_norm import StepStatistics, estimate_statistics

MOMENTUM = 0.1


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=MOMENTUM), nn.ReLU()).train()


def micro_batches(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(4, 1, 8, 8, generator=generator) + index for index in range(count)]


@dataclass(frozen=True, kw_only=True)
class Rank(Group):
    """A rank of a group whose other ranks' sums are known."""

    others: list[torch.Tensor] = field(default_factory=list)
    sent: list[torch.Tensor] = field(default_factory=list)

    def all_reduce_sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        self.sent.append(tensor.clone())
        return tensor.add_(sum(self.others)) if self.others else tensor


def group(size: int = 1, others: list[torch.Tensor] | None = None) -> Rank:
    return Rank(rank=0, size=size, device=torch.device("cpu"), others=others or [])


def do_step(model: nn.Module, statistics: StepStatistics, images: list[torch.Tensor]) -> None:
    statistics.begin_step()
    for image in images:
        model(image)
        statistics.end_pass()
    statistics.end_step()


def test_a_step_moves_the_statistics_to_the_mean_over_its_micro_batches() -> None:
    model, images = network(), micro_batches(3)
    statistics = StepStatistics(model, group(), 3)
    for _ in range(2):
        start = model[1].running_mean.clone(), model[1].running_var.clone()  # type: ignore[union-attr, operator]
        do_step(model, statistics, images)
        features = [model[0](image) for image in images]
        means = torch.stack([f.mean(dim=(0, 2, 3)) for f in features])
        variances = torch.stack([f.var(dim=(0, 2, 3), unbiased=True) for f in features])
        for buffer, old, new in zip(
            (model[1].running_mean, model[1].running_var), start, (means, variances), strict=True
        ):
            expected = (1 - MOMENTUM) * old + MOMENTUM * new.mean(dim=0)
            torch.testing.assert_close(buffer, expected, rtol=1e-5, atol=1e-6)
    assert model[1].num_batches_tracked == 6


def test_a_discarded_pass_leaves_no_trace() -> None:
    models, images = (network(), network()), micro_batches(3)
    for model, others in zip(models, ([], images[2:]), strict=True):
        statistics = StepStatistics(model, group(), 2)
        statistics.begin_step()
        for image in others:
            model(image)
            statistics.discard_pass()
        for image in images[:2]:
            model(image)
            statistics.end_pass()
        statistics.end_step()
    assert all(map(torch.equal, *(model[1].state_dict().values() for model in models)))


def test_ranks_with_two_micro_batches_each_agree_with_one_rank_with_four() -> None:
    images = micro_batches(4)
    alone = network()
    do_step(alone, StepStatistics(alone, group(), 4), images)
    sums = []
    for part in (images[:2], images[2:]):
        sender = group(2)
        model = network()
        do_step(model, StepStatistics(model, sender, 4), part)
        sums += sender.sent
    for part, other in ((images[:2], sums[1]), (images[2:], sums[0])):
        model = network()
        do_step(model, StepStatistics(model, group(2, [other]), 4), part)
        for name, buffer in model[1].named_buffers():
            torch.testing.assert_close(buffer, dict(alone[1].named_buffers())[name], rtol=1e-6, atol=1e-6)


def test_micro_batches_of_a_step_start_from_the_same_statistics() -> None:
    model = network()
    statistics = StepStatistics(model, group(), 2)
    start = model[1].running_mean.clone()  # type: ignore[union-attr, operator]
    statistics.begin_step()
    model(micro_batches(1)[0])
    assert not torch.equal(model[1].running_mean, start)  # type: ignore[arg-type]
    statistics.end_pass()
    assert torch.equal(model[1].running_mean, start)  # type: ignore[arg-type]


@pytest.mark.parametrize("micro_batches_of_a_step", [1, 2])
def test_a_network_without_running_statistics_is_left_alone(micro_batches_of_a_step: int) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, track_running_stats=False), nn.GroupNorm(1, 3))
    sender = group()
    before = [value.clone() for value in model.state_dict().values()]
    do_step(model, StepStatistics(model, sender, micro_batches_of_a_step), micro_batches(micro_batches_of_a_step))
    assert not sender.sent
    assert all(map(torch.equal, model.state_dict().values(), before))


def test_a_step_of_one_micro_batch_is_torch_s_own() -> None:
    ours, torchs, (image,) = network(), network(), micro_batches(1)
    do_step(ours, StepStatistics(ours, group(), 1), [image])
    torchs(image)
    assert all(map(torch.equal, ours.state_dict().values(), torchs.state_dict().values()))


@pytest.mark.parametrize("count", [1, 3])
def test_an_undone_step_leaves_no_trace_even_of_statistics_that_are_not_finite(count: int) -> None:
    model, images = network(), micro_batches(count)
    statistics = StepStatistics(model, group(), count)
    do_step(model, statistics, images)
    before = {name: buffer.clone() for name, buffer in model[1].named_buffers()}
    do_step(model, statistics, [*images[:-1], images[-1] * torch.inf])
    assert not model[1].running_mean.isfinite().any()  # type: ignore[union-attr, operator]
    statistics.undo_step()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model[1].named_buffers())


def averaged() -> nn.Sequential:
    """Return a network in evaluation mode with dropout, and statistics that fit nothing."""
    model = nn.Sequential(*network(), nn.Dropout(0.5), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).eval()
    nn.init.constant_(model[1].running_mean, 9.0)  # type: ignore[arg-type]
    return model


def test_estimated_statistics_are_the_means_over_the_micro_batches_without_dropout() -> None:
    model, images = averaged(), micro_batches(3)
    weights = [parameter.clone() for parameter in model.parameters()]
    estimate_statistics(model, images, 3, group(), nullcontext)
    inputs = [(0, images)]
    # The second layer's statistics are of what the first one, normalizing by each micro-batch, passes on.
    passed = []
    for image in images:
        features = model[0](image)
        normalized = (features - features.mean((0, 2, 3), keepdim=True)) / (
            features.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5
        ).sqrt()
        passed.append(normalized.relu())
    inputs.append((4, passed))
    for layer, values in inputs:
        features = [model[layer](value) for value in values]
        mean, variance = (
            torch.stack(parts).mean(dim=0).detach()
            for parts in ([f.mean((0, 2, 3)) for f in features], [f.var((0, 2, 3)) for f in features])
        )
        torch.testing.assert_close(model[layer + 1].running_mean, mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model[layer + 1].running_var, variance, rtol=1e-5, atol=1e-5)
    assert all(map(torch.equal, model.parameters(), weights))
    assert not any(module.training for module in model.modules())
    assert model[1].momentum == MOMENTUM


def test_ranks_estimate_the_statistics_that_one_rank_does() -> None:
    images, alone = micro_batches(3), averaged()
    estimate_statistics(alone, images, 3, group(), nullcontext)
    sender = group(2)
    estimate_statistics(averaged(), images[2:], 3, sender, nullcontext)
    shared = averaged()
    estimate_statistics(shared, images[:2], 3, group(2, sender.sent), nullcontext)
    for name, buffer in shared.named_buffers():
        torch.testing.assert_close(buffer, dict(alone.named_buffers())[name], rtol=1e-5, atol=1e-6)
