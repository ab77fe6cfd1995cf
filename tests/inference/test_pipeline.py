"""Network, loader and predictor follow the recipe's settings."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.inference import pipeline
from pneumo.inference.out_of_fold import plan_batches, split_batches
from pneumo.inference.pipeline import InferenceConfig, make_autocast
from pneumo.loading import build
from pneumo.loading.opencv import OpenCvLoader
from pneumo.modeling.models import ModelConfig
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


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.mark.parametrize("channels_last", [True, False])
def test_network_and_predictor_have_the_memory_format_asked_for(reader: ShardReader, channels_last: bool) -> None:
    built = pipeline.build(replace(CONFIG, channels_last=channels_last), reader, CPU, workers=1)
    assert not built.network.training
    assert built.predictor.network is built.network
    kernels = [p for p in built.network.parameters() if p.dim() == 4 and p.shape[2] > 1 and p.shape[1] > 1]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) == channels_last for p in kernels)
    expected = torch.channels_last if channels_last else torch.contiguous_format
    assert built.predictor.memory_format == expected
    assert (built.predictor.size, built.predictor.tta) == (32, ("hflip",))


def test_memory_format_changes_predictions_within_rounding_only(reader: ShardReader) -> None:
    image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    last, first = (
        pipeline.build(replace(CONFIG, channels_last=flag), reader, CPU, workers=1) for flag in (True, False)
    )
    first.network.load_state_dict(last.network.state_dict())
    torch.testing.assert_close(last.predictor(image)[0], first.predictor(image)[0], rtol=1e-4, atol=1e-5)


def test_loader_is_that_of_the_recipe(reader: ShardReader, monkeypatch: pytest.MonkeyPatch) -> None:
    built = pipeline.build(CONFIG, reader, CPU, workers=3)
    assert isinstance(built.loader, OpenCvLoader)
    assert built.loader.workers == 3
    rows = reader.table.select("test")
    loaded = np.concatenate([batch.rows for batch in built.loader(plan_batches(split_batches(rows), 32))])
    assert loaded.tolist() == rows.tolist()
    monkeypatch.setattr(build, "has_dali", lambda: False)
    with pytest.raises(UserError, match="loader dali, and DALI is not installed"):
        pipeline.build(replace(CONFIG, loader="dali"), reader, CPU, workers=1)


def multiply(context: AbstractContextManager[None]) -> torch.dtype:
    with context:
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("auto", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_precision_is_that_of_the_matrix_products(
    precision: pipeline.Precision, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    autocast = make_autocast(precision, CPU)
    assert multiply(autocast()) == dtype
    assert multiply(autocast()) == dtype, "a context for each call"
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_recipe_gives_every_setting() -> None:
    recipe = Recipe(image_size=(32, 64), epochs=(1, 1), tta=(), loader="opencv", precision="bf16", channels_last=False)
    assert recipe.inference == InferenceConfig(
        model=recipe.model, size=64, tta=(), loader="opencv", precision="bf16", channels_last=False
    )
