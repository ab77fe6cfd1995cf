"""The networks as ONNX, in the runtime that others use."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_networks import SIZE, Exported, make_mean

from pneumo.inference import onnx_check, onnx_export
from pneumo.inference.predictor import Predictor
from pneumo.runtime.errors import UserError


def test_the_graph_gives_the_mean_over_folds_and_views_for_any_number_of_images(exported: Exported) -> None:
    for count in (1, 2, 5):
        image = torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(count))
        predictors = [
            Predictor(network, size=SIZE, tta=("hflip",), autocast=torch.no_grad) for network in exported.mean.networks
        ]
        found = [predictor(image) for predictor in predictors]
        pixels, presence = exported.session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(pixels, torch.stack([p for p, _, _ in found]).mean(0).numpy(), atol=1e-5)
        np.testing.assert_allclose(presence, np.mean([p.numpy() for _, p, _ in found], axis=0), atol=1e-5)
        assert pixels.std() > 1e-4, "the pixels differ from each other"


def test_the_graph_says_what_goes_in_and_out(exported: Exported) -> None:
    session = exported.session
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["batch", 1, SIZE, SIZE])
    assert [(output.name, output.shape) for output in session.get_outputs()] == [
        ("pixel_probability", ["batch", SIZE, SIZE]),
        ("presence_probability", ["batch"]),
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata.keys() == {"image", "pixel_probability", "presence_probability", "use"}
    assert f"(batch, 1, {SIZE}, {SIZE})" in metadata["image"]
    assert "subtracts the mean" in metadata["image"]


def test_without_a_presence_head_there_is_one_output_and_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    mean = make_mean(folds=1, tta=(), presence_head=False)
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    onnx_export.export(mean, SIZE, first, {})
    session = Exported(mean, first).session
    assert [output.name for output in session.get_outputs()] == ["pixel_probability"]
    assert "presence_probability" not in session.get_modelmeta().custom_metadata_map
    assert onnx_check.check(first, mean, onnx_check.drawn_images(SIZE)) < 1e-5
    onnx_export.export(make_mean(folds=1, tta=(), presence_head=False), SIZE, second, {})
    assert first.read_bytes() == second.read_bytes()


def test_nothing_of_this_machine_is_in_the_file(exported: Exported) -> None:
    content = exported.path.read_bytes()
    places = (str(Path(__file__).parents[2]), torch.__path__[0], "stack_trace", "site-packages", ".py")
    assert [place for place in places if place.encode() in content] == []


def test_weights_above_the_limit_are_in_a_second_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 1000)
    mean, path, data = make_mean(folds=1, tta=()), tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    onnx_export.export(mean, SIZE, path, {})
    weights = sum(value.nbytes for value in mean.state_dict().values())
    assert data.stat().st_size > 0.8 * weights > path.stat().st_size
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, data.name}
    onnx.checker.check_model(path, full_check=True)
    assert onnx_check.check(path, mean, onnx_check.drawn_images(SIZE)) < 1e-5


def test_a_network_that_onnx_cannot_express_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sorting(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> object:
            if float(image.sum()) > 0:  # a decision in Python, which no graph has
                image = image * 2
            return image

    mean = make_mean(folds=1)
    mean.networks[0] = Sorting()
    with pytest.raises(UserError, match=r"torch cannot export this network to ONNX .*; give --no-onnx"):
        onnx_export.export(mean, SIZE, tmp_path / "m.onnx", {})
    assert list(tmp_path.iterdir()) == []


CONFIGS: dict[str, dict[str, object]] = {
    "resnet34": {"encoder": "resnet34"},
    "the recipes best and winner": {"encoder": "se_resnext50_32x4d", "attention": "scse"},
    "unetplusplus": {"encoder": "resnet34", "architecture": "unetplusplus", "attention": "scse"},
    "timm": {"encoder": "tu-convnext_atto"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_encoders_and_decoders_of_the_recipes(name: str, tmp_path: Path) -> None:
    mean = make_mean(folds=1, **CONFIGS[name])
    for module in mean.modules():
        # Random weights give logits of 60, where rounding is a thousandth of a probability.
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.mul_(0.5)
    onnx_export.export(mean, 64, tmp_path / "m.onnx", {})
    assert onnx_check.check(tmp_path / "m.onnx", mean, onnx_check.drawn_images(64)) < 1e-4
