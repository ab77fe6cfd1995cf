"""Weights of an encoder: from every kind of file that people have, and refused by name when they do not fit."""

import logging
import socket

import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from tiny_models import make

from pneumo.modeling.weights import load_encoder
from pneumo.runtime.errors import UserError


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("w.pth", torch.save),
        ("w.pt", lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path)),
        ("w.safetensors", save_file),
        ("old.pth", lambda state, path: torch.save({k: v for k, v in state.items() if "num_b" not in k}, path)),
    ],
)
def test_local_weights_are_loaded(tmp_path, name, write):
    torchvision_resnet = {**smp.encoders.get_encoder("resnet18", weights=None).state_dict()}
    torchvision_resnet |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    write(torchvision_resnet, tmp_path / name)
    model = make(encoder="resnet18", encoder_weights=str(tmp_path / name))
    loaded = model.net.encoder.state_dict()
    assert all(torch.equal(loaded[key], torchvision_resnet[key]) for key in loaded)


@pytest.mark.parametrize("encoder", ["resnet10t", "efficientnet_b0", "convnext_atto"])
def test_timm_weights_are_loaded(tmp_path, encoder):
    timm = pytest.importorskip("timm")
    original = timm.create_model(encoder)
    torch.save(original.state_dict(), tmp_path / "w.pth")
    model = make(encoder=f"tu-{encoder}", encoder_weights=str(tmp_path / "w.pth")).eval()
    features = timm.create_model(encoder, features_only=True).eval()
    features.load_state_dict(
        {k: v for k, v in model.net.encoder.model.state_dict().items()}  # noqa: C416
    )
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        mine = features(x)[-1]
        whole = original.eval().forward_intermediates(x, intermediates_only=True)[-1]
    torch.testing.assert_close(mine, whole)


PREFIXED = {
    "DataParallel": ("module.", lambda state: state),
    "Lightning": ("model.encoder.", lambda state: {"state_dict": state, "epoch": 3}),
    "wrapped twice": ("module.model.backbone.", lambda state: {"model": state, "optimizer": {}}),
    "in a checkpoint's model": ("encoder.", lambda state: {"model": {"state_dict": state}, "step": 5}),
}


@pytest.mark.parametrize(("prefix", "wrap"), PREFIXED.values(), ids=PREFIXED)
@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet10t"])
def test_an_encoder_is_found_within_a_whole_model(tmp_path, caplog, encoder, prefix, wrap):
    original = smp.encoders.get_encoder(encoder, weights=None).state_dict()
    model = {f"{prefix}{key}": value for key, value in original.items()}
    outer = prefix[: prefix[:-1].rfind(".") + 1]
    model |= {f"{outer}decoder.weight": torch.ones(3), "segmentation_head.0.bias": torch.ones(1)}
    torch.save(wrap(model), tmp_path / "w.pth")
    with caplog.at_level(logging.INFO):
        loaded = make(encoder=encoder, encoder_weights=str(tmp_path / "w.pth")).net.encoder.state_dict()
    assert all(torch.equal(loaded[key], original[key]) for key in original)
    assert f"{len(original)} tensors of the encoder under {prefix}; not used: 2 more" in caplog.text


def test_an_encoder_is_found_within_a_fold_of_our_own(tmp_path, caplog):
    fold = make(encoder="resnet18")
    (tmp_path / "model.safetensors").write_bytes(safetensors.torch.save(fold.state_dict()))
    with caplog.at_level(logging.INFO):
        loaded = make(encoder="resnet18", encoder_weights=str(tmp_path / "model.safetensors")).net.encoder.state_dict()
    original = fold.net.encoder.state_dict()
    assert all(torch.equal(loaded[key], original[key]) for key in original)
    assert "tensors of the encoder under net.encoder.;" in caplog.text


def test_a_first_convolution_of_one_channel_is_repeated(tmp_path):
    gray = smp.encoders.get_encoder("resnet18", weights=None, in_channels=1).eval()
    torch.save(gray.state_dict(), tmp_path / "w.pth")
    color = make(encoder="resnet18", encoder_weights=str(tmp_path / "w.pth")).net.encoder.eval()
    x = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(color(x.repeat(1, 3, 1, 1))[-1], gray(x)[-1], rtol=1e-4, atol=1e-5)


WRONG_FILES = {
    "a part of the encoder in a model": (
        {"drop": "layer4", "prefix": "module.encoder."},
        r"missing: layer4\.0\.conv1\.weight",
    ),
    "missing file": (None, "no weights file .*expected a .pth"),
    "missing keys": ({"drop": "layer4"}, r"missing: layer4\.0\.conv1\.weight.* and \d+ more"),
    "left-over keys": ({"add": {"stem.weight": torch.zeros(1)}}, "1 unexpected: stem.weight"),
    "a counter with the shape of a convolution": (
        {"add": {"bn1.num_batches_tracked": torch.zeros(1, 1, 1, 1)}},
        r"bn1\.num_batches_tracked \(1, 1, 1, 1\) for \(\)",
    ),
    "another shape": ({"add": {"conv1.weight": torch.zeros(64, 2, 7, 7)}}, r"\(64, 2, 7, 7\) for \(64, 3, 7, 7\)"),
    "not finite": ({"add": {"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}}, "conv1.weight is not finite"),
    "not tensors": ({"add": {"conv1.weight": 3}}, "expected a dict of tensors"),
    "code": ({"add": {"conv1.weight": socket.socket}}, "cannot be read"),
    "text": ("hello", "cannot be read"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_weights_are_refused_by_name(tmp_path, case):
    change, message = WRONG_FILES[case]
    path = tmp_path / "w.pth"
    if isinstance(change, str):
        path.write_text(change)
    elif change is not None:
        state = smp.encoders.get_encoder("resnet18", weights=None).state_dict()
        state = {k: v for k, v in state.items() if not k.startswith(change.get("drop", "?"))}
        state |= change.get("add", {})
        torch.save({f"{change.get('prefix', '')}{key}": value for key, value in state.items()}, path)
    with pytest.raises(UserError, match=message) as caught:
        make(encoder="resnet18", encoder_weights=str(path))
    assert len(str(caught.value)) < 800
    assert "\n" not in str(caught.value)


def test_a_first_convolution_of_three_channels_is_summed(tmp_path):
    color = smp.encoders.get_encoder("resnet18", weights=None).eval()
    torch.save(color.state_dict(), tmp_path / "w.pth")
    gray = smp.encoders.get_encoder("resnet18", weights=None, in_channels=1).eval()
    load_encoder(gray, tmp_path / "w.pth")
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(gray(image)[-1], color(image.repeat(1, 3, 1, 1))[-1])


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    state = smp.encoders.get_encoder("resnet18", weights=None).state_dict()
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: layer2\.0\.conv1\.weight is not finite; expected finite weights"):
        make(encoder="resnet18", encoder_weights=str(tmp_path / "w.pth"))
