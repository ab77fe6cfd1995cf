"""Downloads from the hub, with a hub that is a directory, or none."""

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from tiny_models import make

from pneumo.runtime.errors import UserError


def test_imagenet_weights_come_from_the_hub_with_their_normalization(tmp_path, monkeypatch):
    encoder = smp.encoders.get_encoder("resnet18", weights=None)
    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"mean": [10, 20, 30], "std": [51, 51, 51], "input_range": [0, 255]}')
    monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda repo, filename, revision: tmp_path / filename)
    model = make(encoder="resnet18", encoder_weights="imagenet")
    assert torch.equal(model.net.encoder.conv1.weight, encoder.conv1.weight)
    torch.testing.assert_close(model.mean.flatten(), torch.tensor([10, 20, 30]) / 255)
    torch.testing.assert_close(model.std.flatten(), torch.full((3,), 0.2))


def test_without_network_the_error_says_to_use_a_local_file(monkeypatch):
    def fail(*args: object, **options: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(smp.encoders, "hf_hub_download", fail)
    with pytest.raises(UserError, match=r"resnet18 cannot be downloaded .*no route.* local \.pth"):
        make(encoder="resnet18", encoder_weights="imagenet")


def test_encoder_without_imagenet_weights_is_named():
    with pytest.raises(UserError, match=r"Wrong pretrained weights .imagenet."):
        make(encoder="resnext101_32x4d", encoder_weights="imagenet")
