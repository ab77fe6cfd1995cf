"""Loader and predictor follow the recipe's settings."""

from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.build import build, make_autocast
from pneumo.inference.config import InferenceConfig, Precision
from pneumo.inference.prediction import plan_batches, split_batches
from pneumo.loading import build as loading_build
from pneumo.loading.opencv import OpenCvLoader
from pneumo.modeling.config import ModelConfig
from pneumo.runtime.errors import UserError
from pneumo.training.recipe import Recipe

CPU = torch.device("cpu")
CONFIG = InferenceConfig(
    model=ModelConfig(encoder="mobilenet_v2"),
    size=32,
    tta=("hflip",),
    loader="opencv",
    precision="fp32",
    channels_last=True,
)


@pytest.mark.parametrize("channels_last", [True, False])
def test_network_and_predictor_follow_the_config(reader: ShardReader, channels_last: bool) -> None:
    _, predictor = build(replace(CONFIG, channels_last=channels_last), reader, CPU, workers=1)
    assert not predictor.network.training
    kernels = [p for p in predictor.network.parameters() if p.dim() == 4 and p.shape[2] > 1 and p.shape[1] > 1]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) == channels_last for p in kernels)
    assert (predictor.size, predictor.tta) == (32, ("hflip",))


def test_every_layer_keeps_the_memory_format(reader: ShardReader) -> None:
    _, predictor = build(CONFIG, reader, CPU, workers=1)
    outputs: list[torch.Tensor] = []

    def record(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.dim() == 4 and min(output.shape[1:]) > 1:
            outputs.append(output)

    for module in predictor.network.modules():
        module.register_forward_hook(record)
    predictor(torch.rand(2, 1, 64, 64))
    assert len(outputs) > 100
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in outputs)


def test_memory_format_changes_predictions_within_rounding_only(reader: ShardReader) -> None:
    image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    last, first = (build(replace(CONFIG, channels_last=flag), reader, CPU, workers=1)[1] for flag in (True, False))
    first.network.load_state_dict(last.network.state_dict())
    torch.testing.assert_close(last(image)[0], first(image)[0], rtol=1e-4, atol=1e-5)


def test_loader_is_that_of_the_config(reader: ShardReader, monkeypatch: pytest.MonkeyPatch) -> None:
    loader, _ = build(CONFIG, reader, CPU, workers=3)
    assert isinstance(loader, OpenCvLoader)
    assert loader.workers == 3
    rows = reader.table.select("test")
    loaded = np.concatenate([batch.rows for batch in loader(plan_batches(split_batches(rows), 32))])
    assert loaded.tolist() == rows.tolist()
    monkeypatch.setattr(loading_build, "has_dali", lambda: False)
    with pytest.raises(UserError, match="loader dali, and DALI is not installed"):
        build(replace(CONFIG, loader="dali"), reader, CPU, workers=1)


def multiply(context: AbstractContextManager[None]) -> torch.dtype:
    with context:
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("auto", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float32)],
)
def test_precision_is_that_of_the_matrix_products(precision: Precision, dtype: torch.dtype) -> None:
    autocast = make_autocast(precision, CPU)
    assert multiply(autocast()) == dtype
    assert multiply(autocast()) == dtype, "a context for each call"
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_a_precision_that_the_device_does_not_have_is_fp32_and_said(
    reader: ShardReader, caplog: pytest.LogCaptureFixture
) -> None:
    _, predictor = build(replace(CONFIG, precision="fp16"), reader, CPU, workers=1)
    assert multiply(predictor.autocast()) == torch.float32
    assert caplog.messages == ["predicting in fp32, since cpu does not have fp16"]
    build(replace(CONFIG, precision="auto"), reader, CPU, workers=1)
    assert len(caplog.messages) == 1


def test_recipe_gives_every_setting() -> None:
    recipe = Recipe(image_size=(32, 64), epochs=(1, 1), tta=(), loader="opencv", precision="bf16", channels_last=False)
    assert recipe.inference == InferenceConfig(
        model=recipe.model, size=64, tta=(), loader="opencv", precision="bf16", channels_last=False
    )
