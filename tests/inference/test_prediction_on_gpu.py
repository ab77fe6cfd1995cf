"""Predictions of one network on a GPU and on a CPU: ``./launch.sh test -m gpu``."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from ensembles import published

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.inference.build import build
from pneumo.inference.config import InferenceConfig
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.ensembler import Ensembler, ImagePrediction
from pneumo.inference.network_mean import EnsembledRun, NetworkMean
from pneumo.masks import rle
from pneumo.modeling import models
from pneumo.modeling.config import ModelConfig

CPU = torch.device("cpu")
CONFIG = InferenceConfig(
    model=ModelConfig(encoder="mobilenet_v2"),
    size=64,
    tta=("hflip",),
    loader="opencv",
    precision="fp32",
    channels_last=True,
)
RULE = DecisionRule(top_bin=120, min_area=1.0, bottom_bin=100, presence_threshold=0.0)


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    safetensors.torch.save_file(models.build(CONFIG.model).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("device", "precision", "tolerance"),
    [
        ("cpu", "bf16", 2e-2),
        *(
            pytest.param("cuda", *case, marks=pytest.mark.gpu)
            for case in (("fp32", 1e-4), ("bf16", 2e-2), ("fp16", 5e-3))
        ),
    ],
)
def test_probabilities_are_those_of_a_cpu(
    device: str, precision: str, tolerance: float, weight_file: Path, reader: ShardReader, world: World
) -> None:
    assert world.device.type == device
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    found = []
    for where, config in ((world.device, replace(CONFIG, precision=precision)), (CPU, CONFIG)):
        _, predictor = build(config, reader, where, workers=1)
        predictor.network.load_state_dict(safetensors.torch.load_file(weight_file))
        pixels, presence, _ = predictor(image.to(where))
        found.append((pixels.cpu(), torch.as_tensor(presence).cpu()))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("device", "loader"),
    [
        ("cpu", "opencv"),
        pytest.param("cuda", "opencv", marks=pytest.mark.gpu),
        pytest.param("cuda", "dali", marks=pytest.mark.gpu),
    ],
)
def test_an_ensemble_s_masks_are_those_of_a_cpu(
    device: str, loader: str, weight_file: Path, reader: ShardReader, world: World
) -> None:
    assert world.device.type == device
    if loader == "dali":
        pytest.importorskip("nvidia.dali")
    rows = reader.table.select("test")

    def predict(where: World, kind: str) -> list[ImagePrediction]:
        run = EnsembledRun(config=replace(CONFIG, loader=kind), weights=(published(weight_file),), weight=1.0)
        mean = NetworkMean([run], reader=reader, world=where, workers=1)
        return Ensembler(mean, RULE).run(rows)

    ours, theirs = predict(world, loader), predict(replace(world, device=CPU), "opencv")
    for left, right, row in zip(ours, theirs, rows.tolist(), strict=True):
        assert left.presence_probability == pytest.approx(right.presence_probability, abs=1e-2)
        masks = [rle.decode(prediction.rle, *reader.table.shape(row)) for prediction in (left, right)]
        assert np.mean(masks[0] != masks[1]) < 0.02
