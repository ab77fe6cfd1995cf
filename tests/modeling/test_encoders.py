"""An encoder of one's own: entered by name, used like any other."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.encoders._base import EncoderMixin
from tiny_models import image, make
from torch import Tensor, nn

from pneumo.modeling import encoders
from pneumo.runtime.errors import UserError


class PlainEncoder(nn.Module, EncoderMixin):  # type: ignore[misc]
    """Five convolutions of stride 2."""

    def __init__(self, depth: int = 5, output_stride: int = 32) -> None:
        super().__init__()
        self._depth, self._in_channels, self._output_stride = depth, 3, output_stride
        self._out_channels = [3, 4, 6, 8, 10, 12]
        # Named like the classifier of other networks, which weights files of theirs have and encoders leave out.
        self.head = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1)
            for before, after in zip(self._out_channels, self._out_channels[1:], strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [x]
        for convolution in self.head:
            maps.append(convolution(maps[-1]))
        return maps


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(encoders.ENCODERS, "plain", PlainEncoder)
    yield
    smp.encoders.encoders.pop("plain", None)


@pytest.mark.parametrize("architecture", ["unet", "unetplusplus"])
def test_it_is_used_by_its_name(architecture: str) -> None:
    model = make(encoder="plain", architecture=architecture, presence_head=True)
    assert isinstance(model.net.encoder, PlainEncoder)
    output = model(image(2))
    assert output.logits.shape == (2, 1, 64, 64)
    assert output.presence_logit is not None
    assert output.presence_logit.shape == (2,)


def test_a_weights_file_is_its_state_dict(tmp_path: Path) -> None:
    torch.manual_seed(3)
    trained = PlainEncoder().state_dict()
    torch.save(trained, tmp_path / "w.pth")
    loaded = make(encoder="plain", encoder_weights=str(tmp_path / "w.pth")).net.encoder.state_dict()
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], trained[name]) for name in trained)


def test_a_weights_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    torch.save({**PlainEncoder().state_dict(), "head.0.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"does not fit the encoder: 1 of another shape: head\.0\.weight \(1,\)"):
        make(encoder="plain", encoder_weights=str(tmp_path / "w.pth"))


def test_it_has_no_weights_on_the_hub() -> None:
    with pytest.raises(UserError, match=r"the weights of plain cannot be downloaded .*Wrong pretrained weights"):
        make(encoder="plain", encoder_weights="imagenet")


def test_its_name_is_among_the_suggestions() -> None:
    with pytest.raises(UserError, match=r"--model\.encoder plian; expected one of \d+ names such as plain"):
        encoders.validate("plian")


@pytest.mark.parametrize("name", ["resnet34", "tu-resnet10t", "timm-regnetx_002"])
def test_a_name_of_the_library_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(smp.encoders.encoders)
    monkeypatch.setattr(encoders, "ENCODERS", {name: PlainEncoder})
    with pytest.raises(ValueError, match=f"{name} is the name of an encoder of segmentation-models-pytorch"):
        encoders.register()
    assert smp.encoders.encoders == before


def test_without_an_encoder_of_our_own_the_library_s_table_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(smp.encoders.encoders)
    monkeypatch.delitem(encoders.ENCODERS, "plain")
    encoders.register()
    assert smp.encoders.encoders == before


def test_a_name_of_any_length_gets_a_short_message() -> None:
    with pytest.raises(UserError) as caught:
        encoders.validate("x" * 100_000)
    assert len(str(caught.value)) < 1000
