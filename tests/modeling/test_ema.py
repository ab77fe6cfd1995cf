import copy

import pytest
import torch
from torch import nn

from pneumo.modeling.ema import Ema

torch.set_num_threads(1)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))


def drift(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    model(torch.rand(2, 1, 8, 8, generator=generator))


@pytest.mark.parametrize("largest", [0.3, 0.9995])
def test_weights_follow_the_formula_with_warm_up(largest):
    model = network()
    ema = Ema(model, largest)
    names = ["0.weight", "0.bias", "1.weight", "1.bias"]
    expected = {name: model.state_dict()[name].double().clone() for name in names}
    for n in range(12):
        drift(model, n)
        ema.update(model)
        decay = min(largest, (1 + n) / (10 + n))
        for name in names:
            expected[name] = decay * expected[name] + (1 - decay) * model.state_dict()[name].double()
            # After each update: a decay of .3 forgets within a few how the average began.
            torch.testing.assert_close(ema.model.state_dict()[name].double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [-0.5, 1.0])
def test_a_decay_outside_of_its_range_is_a_fault_of_the_program(decay):
    with pytest.raises(AssertionError):
        Ema(network(), decay)


def test_buffers_are_copied_and_the_average_is_ready_to_evaluate():
    model = network()
    ema = Ema(model, 0.9)
    for n in range(3):
        drift(model, n)
        ema.update(model)
    averaged = ema.model
    assert all(map(torch.equal, averaged.buffers(), model.buffers()))
    assert averaged[1].num_batches_tracked == 3
    assert not averaged.training
    assert model.training
    assert not any(parameter.requires_grad for parameter in averaged.parameters())


def test_without_decay_the_average_is_the_model_itself():
    model = network()
    ema = Ema(model, 0.0)
    for n in range(3):
        drift(model, n)
        ema.update(model)
        mine, theirs = ema.model.state_dict(), model.state_dict()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_average_of_a_bf16_model_is_float32():
    model = network().bfloat16()
    ema = Ema(model, 0.9)
    ema.update(model)
    assert {tensor.dtype for tensor in ema.model.state_dict().values()} == {torch.float32, torch.int64}


def test_a_resumed_average_continues_bit_for_bit():
    model = network()
    ema = Ema(model, 0.999)
    for n in range(3):
        drift(model, n)
        ema.update(model)
    saved, weights = copy.deepcopy(model), copy.deepcopy(ema.model.state_dict())
    resumed = Ema(network(9), 0.999)
    resumed.restore(weights, ema.updates)
    for n in range(3, 6):
        for average, followed in ((ema, model), (resumed, saved)):
            drift(followed, n)
            average.update(followed)
    assert resumed.updates == ema.updates == 6
    mine, theirs = resumed.model.state_dict(), ema.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_unchanged_weights_stay_as_they_are():
    model = network()
    ema = Ema(model, 0.999)
    for _ in range(5):
        ema.update(model)
    assert all(map(torch.equal, ema.model.state_dict().values(), model.state_dict().values()))
