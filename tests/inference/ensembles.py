"""Small ensembles of networks with random weights, and the plainest way to average one image's maps."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.inference.config import InferenceConfig
from pneumo.inference.network_mean import EnsembledRun
from pneumo.inference.predictor import Predictor, to_source
from pneumo.loading.build import build_loader
from pneumo.loading.contract import BatchPlan
from pneumo.modeling import models
from pneumo.modeling.config import ModelConfig
from pneumo.modeling.segmenter import Segmenter
from pneumo.modeling.trained_weights import TrainedWeights, how_to_restore
from pneumo.runtime.files import sha256

CONFIGS = tuple(
    InferenceConfig(
        model=ModelConfig(encoder="mobilenet_v2", decoder_channels=(16,) * 5, presence_head=presence_head),
        size=size,
        tta=("hflip",),
        loader="opencv",
        precision="fp32",
        channels_last=True,
    )
    for presence_head, size in ((True, 64), (False, 32), (True, 32))
)
WEIGHTS = (0.6, 0.25, 0.15)


def make_networks() -> list[list[Segmenter]]:
    """Make two folds of each configuration."""
    torch.manual_seed(0)
    networks = [[models.build(config.model).eval() for _ in range(2)] for config in CONFIGS]
    for name, parameter in (item for folds in networks for network in folds for item in network.named_parameters()):
        if name.endswith("classification_head.3.bias"):
            # Without training every presence probability is 0.5, whatever the weights of the mean.
            torch.nn.init.normal_(parameter)
    return networks


def published(path: Path) -> TrainedWeights:
    """Describe a file of weights as it is."""
    return TrainedWeights(path, sha256(path), how_to_restore(path))


def write_runs(networks: list[list[Segmenter]], directory: Path) -> list[EnsembledRun]:
    """Write the weights of the networks."""
    result = []
    for r, (config, weight) in enumerate(zip(CONFIGS, WEIGHTS, strict=True)):
        weights = []
        for k, network in enumerate(networks[r]):
            path = directory / f"{r}-{k}.safetensors"
            safetensors.torch.save_file(network.state_dict(), path)
            weights.append(published(path))
        result.append(EnsembledRun(config=config, weights=tuple(weights), weight=weight))
    return result


def average_by_hand(
    networks: list[list[Segmenter]],
    runs: Sequence[EnsembledRun],
    reader: ShardReader,
    world: World,
    row: int,
    fold: int | None = None,
) -> tuple[np.ndarray, float]:
    """Average one image's maps, and its presence probabilities, in the plainest way."""
    total = torch.zeros(reader.table.shape(row))
    presence, presence_weights = 0.0, 0.0
    for run, of_run in zip(runs, networks, strict=True):
        plan = BatchPlan(
            rows=np.array([row]), positions=np.array([0]), epoch=0, size=run.config.size, seed=0, augmentation=None
        )
        (batch,) = build_loader("opencv", reader, world.device, workers=1)([plan])
        folds = of_run if fold is None else [of_run[fold]]
        for network in folds:
            predictor = Predictor(network, size=run.config.size, tta=("hflip",), autocast=nullcontext)
            pixels, probability, _ = predictor(batch.image)
            total += run.weight / len(folds) * to_source(pixels[0], *total.shape)
            if run.config.model.presence_head:
                presence += run.weight / len(folds) * float(probability[0])
                presence_weights += run.weight / len(folds)
    return total.numpy(), presence / presence_weights
