"""A run to predict with: networks with random weights, and as many images as asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.config import InferenceConfig
from pneumo.inference.network_mean import EnsembledRun
from pneumo.modeling import models
from pneumo.modeling.trained_weights import TrainedWeights
from pneumo.modeling.weight_files import write_safetensors
from pneumo.runtime.files import sha256


def write_run(config: InferenceConfig, folds: int, directory: Path) -> EnsembledRun:
    """Write random weights of every fold, as a finished run has them."""
    weights = []
    for fold in range(folds):
        torch.manual_seed(fold)
        path = directory / f"{config.model.encoder}-{fold}.safetensors"
        network = models.build(replace(config.model, encoder_weights="none"))
        with path.open("wb") as file:
            write_safetensors(network.state_dict(), file.write)
        weights.append(TrainedWeights(path, sha256(path), "start the benchmark again"))
    return EnsembledRun(config=config, weights=tuple(weights), weight=1.0)


def repeat_images(reader: ShardReader, count: int) -> ShardReader:
    """Return a reader of so many images: those of another one, again and again under new ids."""
    table = reader.table.take(np.resize(np.arange(len(reader.table)), count))
    return ShardReader(reader.dataset, replace(table, image_id=np.array([f"image-{n}" for n in range(count)])))
