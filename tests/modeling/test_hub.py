"""Downloads from the hub, with a hub that is a directory, or none."""

from typing import ClassVar

import pytest
import segmentation_models_pytorch as smp
import torch
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import save_file
from tiny_models import make

from pneumo.runtime.errors import StartAgain, UserError


def test_imagenet_weights_come_from_the_hub_with_their_normalization(tmp_path, monkeypatch):
    encoder = smp.encoders.get_encoder("resnet18", weights=None)
    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"mean": [10, 20, 30], "std": [51, 51, 51], "input_range": [0, 255]}')
    monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda repo, filename, revision: tmp_path / filename)
    model = make(encoder="resnet18", encoder_weights="imagenet")
    assert torch.equal(model.net.encoder.conv1.weight, encoder.conv1.weight)
    torch.testing.assert_close(model.mean.flatten(), torch.tensor([10, 20, 30]) / 255)
    torch.testing.assert_close(model.std.flatten(), torch.full((3,), 0.2))


def test_a_hub_that_is_away_is_worth_another_start_and_the_message_says_to_use_a_local_file(monkeypatch):
    def fail(*args: object, **options: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(smp.encoders, "hf_hub_download", fail)
    with pytest.raises(StartAgain, match=r"resnet18 cannot be downloaded .*no route.* local \.pth"):
        make(encoder="resnet18", encoder_weights="imagenet")
    # Whoever switched the connection off has to switch it on, or to give a file.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"resnet18 cannot be downloaded .* local \.pth"):
        make(encoder="resnet18", encoder_weights="imagenet")


@pytest.mark.parametrize(("status", "kind"), [(503, StartAgain), (429, StartAgain), (404, UserError)])
def test_a_busy_hub_is_away_and_a_missing_file_is_not(monkeypatch, status, kind):
    class Response:
        status_code = status
        headers: ClassVar[dict] = {}
        request = None

    def fail(*args: object, **options: object) -> None:
        raise HfHubHTTPError("the hub's answer", response=Response())

    monkeypatch.setattr(smp.encoders, "hf_hub_download", fail)
    with pytest.raises(kind, match="resnet18 cannot be downloaded"):
        make(encoder="resnet18", encoder_weights="imagenet")


def test_encoder_without_imagenet_weights_is_named():
    with pytest.raises(UserError, match=r"Wrong pretrained weights .imagenet."):
        make(encoder="resnext101_32x4d", encoder_weights="imagenet")
