"""A fold's weights are those that training wrote, or they are refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pneumo.modeling.trained_weights import TrainedWeights, how_to_restore
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import sha256

EXPECTED = "expected the weights of a finished fold; restore the file; if it is lost, delete "


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.fixture
def path(network: nn.Module, tmp_path: Path) -> Path:
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_what_was_written_is_loaded(network: nn.Module, path: Path) -> None:
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    trained = TrainedWeights(path, sha256(path), how_to_restore(path))
    trained.load(network, trained.read())
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_a_flipped_bit_is_refused(path: Path) -> None:
    digest = sha256(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"model\.safetensors: SHA-256 .*, but training wrote {digest[:12]}.*{EXPECTED}"
    ):
        TrainedWeights(path, digest, how_to_restore(path)).read()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_weights_that_are_not_finite_are_refused_even_with_their_digest(
    network: nn.Module, path: Path, value: float, name: str
) -> None:
    state = network.state_dict()
    state[name].view(-1)[-1] = value
    save_file(state, path)
    with pytest.raises(UserError, match=rf"model\.safetensors: {name} is not finite; .*train the fold again"):
        TrainedWeights(path, sha256(path), how_to_restore(path)).read()


def test_a_torn_or_missing_file_is_refused(path: Path) -> None:
    trained = TrainedWeights(path, sha256(path), how_to_restore(path))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"model\.safetensors: .*{EXPECTED}"):
        trained.read()
    path.unlink()
    with pytest.raises(UserError, match=rf"model\.safetensors: No such file or directory; {EXPECTED}"):
        trained.read()


def test_weights_of_another_network_are_refused(path: Path) -> None:
    trained = TrainedWeights(path, sha256(path), how_to_restore(path))
    other = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
    with pytest.raises(UserError, match=rf"1 unexpected: .*|.*of another shape: 0\.weight .*{EXPECTED}"):
        trained.load(other, trained.read())


def test_tensors_that_no_network_has_are_refused(path: Path) -> None:
    save_file({"w": torch.zeros(2).to(torch.float8_e8m0fnu)}, path)
    with pytest.raises(UserError, match=EXPECTED):
        trained = TrainedWeights(path, sha256(path), how_to_restore(path))
        trained.load(nn.Linear(1, 1), trained.read())
