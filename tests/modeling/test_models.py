"""Networks from their configuration."""

import pytest
import segmentation_models_pytorch as smp
import torch
from tiny_models import TINY, image, make, packaged_mobilenet
from torchvision.models import ResNet34_Weights

from pneumo.modeling.losses.loss import loss
from pneumo.modeling.losses.registry import LossConfig
from pneumo.runtime.errors import UserError


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


@pytest.mark.parametrize("architecture", ["unet", "unetplusplus"])
def test_the_decoders_blocks_have_the_channels_of_the_configuration(architecture):
    channels = (40, 32, 24, 16, 17)
    model = make(architecture=architecture, decoder_channels=channels, presence_head=True).eval()
    assert model.net.segmentation_head[0].in_channels == 17
    for width in channels:
        assert any(isinstance(m, torch.nn.Conv2d) and m.out_channels == width for m in model.net.decoder.modules())
    assert model(image()).logits.shape == (1, 1, 64, 64)


def test_images_are_normalized_as_those_of_torchvisions_weights():
    theirs = ResNet34_Weights.IMAGENET1K_V1.transforms()
    model = make()
    torch.testing.assert_close(model.mean.flatten(), torch.tensor(theirs.mean))
    torch.testing.assert_close(model.std.flatten(), torch.tensor(theirs.std))


def test_the_presence_head_sees_the_image_without_dropout():
    model, images = make(presence_head=True).train(), torch.rand(4, 1, 32, 32)
    first, second = (model(images).presence_logit for _ in range(2))
    assert torch.equal(first, second)
    assert len(first.unique()) == 4


@pytest.mark.parametrize("encoder", ["resnet18", "mobileone_s0", "mit_b0", "densenet121", "tu-resnet10t"])
def test_every_family_of_encoders_takes_one_channel(encoder):
    assert make(encoder=encoder).eval()(image()).logits.shape == (1, 1, 64, 64)


def test_names_and_shapes_do_not_depend_on_the_weights():
    trained = make(encoder_weights=str(packaged_mobilenet()))
    blank = make(seed=5)
    blank.load_state_dict(trained.state_dict())
    with torch.inference_mode():
        assert torch.equal(blank.eval()(image()).logits, trained.eval()(image()).logits)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"encoder": "resnet43"}, "--model.encoder resnet43; .*resnet34"),
        ({"encoder": ""}, "--model.encoder ; expected a name of letters"),
        ({"encoder": "../resnet34"}, "--model.encoder ../resnet34; expected a name of letters"),
        ({"encoder": "tu-convnext_pikko"}, "--model.encoder tu-convnext_pikko; .*tu-convnext_pico"),
        ({"architecture": "unett"}, "--model.architecture unett; expected one of unet, "),
        ({"attention": "cbam"}, "--model.attention cbam; expected one of none, scse"),
        ({"decoder_channels": (64, 32, 16, 8, 0)}, "--model.decoder-channels 0; expected 1 to 4096"),
        ({"decoder_channels": (64, 32, 16, 8)}, "--model.decoder-channels.*expected 5 values, each 1 to 4096"),
        (
            {"decoder_channels": (64, 32, 16, 16, 8), "attention": "scse"},
            "at least 16 channels.*--model.attention scse",
        ),
        ({"architecture": "unetplusplus", "encoder": "mit_b0"}, "unetplusplus with encoder mit_b0"),
    ],
)
def test_wrong_names_get_close_matches(config, message):
    with pytest.raises(UserError, match=message):
        make(**config)


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


def test_bf16_autocast_and_channels_last():
    model = make(presence_head=True).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(image(2).to(memory_format=torch.channels_last))
    assert output.logits.dtype == torch.bfloat16
    parts = loss(output, torch.zeros(2, 1, 64, 64), LossConfig(presence=1.0, focal=1.0))
    assert parts.total.dtype == torch.float32
    parts.total.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
