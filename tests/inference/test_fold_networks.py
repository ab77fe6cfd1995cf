"""What is kept in memory, and what is read again."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import safetensors.torch
import torch
from ensembles import published

from pneumo.inference import fold_networks
from pneumo.inference.fold_networks import FoldNetworks, WeightCache, memory_limit
from pneumo.inference.predictor import Predictor
from pneumo.modeling.trained_weights import TrainedWeights
from pneumo.runtime.errors import UserError


@pytest.fixture
def weights(tmp_path: Path) -> list[TrainedWeights]:
    """Three files of 400 bytes of weights each."""
    for k in range(3):
        safetensors.torch.save_file({"w": torch.full((100,), float(k))}, tmp_path / f"{k}.safetensors")
    return [published(tmp_path / f"{k}.safetensors") for k in range(3)]


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (399, 0), (400, 1), (799, 1), (800, 2), (1199, 2), (1200, 3)])
def test_the_first_weights_that_fit_are_kept(weights: list[TrainedWeights], limit: int, kept: int) -> None:
    cache = WeightCache(limit)
    first = [cache.read(w) for w in weights]
    again = [cache.read(w) for w in weights]
    assert [a is b for a, b in zip(first, again, strict=True)] == [True] * kept + [False] * (3 - kept)
    assert [float(state["w"][0]) for state in again] == [0.0, 1.0, 2.0]


def test_weights_that_are_read_again_are_checked_again(weights: list[TrainedWeights]) -> None:
    cache = WeightCache(0)
    cache.read(weights[0])
    weights[0].path.write_bytes(weights[1].path.read_bytes())
    with pytest.raises(UserError, match="SHA-256"):
        cache.read(weights[0])


class Weighted(torch.nn.Module):
    """A network with the weights of the files."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(100))


def test_each_fold_has_its_network_and_the_first_one_that_is_there(weights: list[TrainedWeights]) -> None:
    """One more would be copied for nothing."""
    predictors = [Predictor(Weighted(), size=32, tta=(), autocast=nullcontext) for _ in range(2)]
    networks = FoldNetworks(predictors, [weights, weights[:1]], torch.device("cpu"))
    assert networks.resident
    found = [networks.predictor(0, each).network for each in (*weights, *weights)]
    assert [float(network.w.detach()[0]) for network in found] == [0.0, 1.0, 2.0] * 2
    assert found[:3] == found[3:]
    assert found[0] is predictors[0].network
    assert len(set(map(id, found))) == 3
    assert networks.predictor(1, weights[0]).network is predictors[1].network


def test_the_ranks_of_a_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_networks, "available_memory", lambda: 1000)
    assert [memory_limit(torch.device("cpu"), ranks) for ranks in (1, 2, 8)] == [250, 125, 31]
