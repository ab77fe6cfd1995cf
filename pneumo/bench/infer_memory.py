"""The memory of a process that validates and ensembles some images, and of one with ten times as many."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.random_run import repeat_images, write_run
from pneumo.bench.settings import Settings
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.startup import init
from pneumo.inference.config import InferenceConfig
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.ensembler import Ensembler
from pneumo.inference.network_mean import NetworkMean
from pneumo.inference.out_of_fold import predict_histograms
from pneumo.modeling.config import ModelConfig
from pneumo.runtime.machine import peak_memory

FACTOR = 10
"""Times the images that are measured."""
CONFIG = InferenceConfig(
    model=ModelConfig(encoder="mobilenet_v2", encoder_weights="none"),
    size=64,
    tta=("hflip",),
    loader="auto",
    precision="auto",
    channels_last=True,
)
"""A small network: what is held of the sources counts."""
EVERY_IMAGE = DecisionRule(1, 0.0, 1)
"""Gives every image a mask."""
_CHILD = """
import sys
from pathlib import Path
from pneumo.bench.infer_memory import peaks
print(*peaks(Path(sys.argv[1]), *map(int, sys.argv[2:])))
"""


def measure(dataset: Path, settings: Settings) -> list[Comparison]:
    """Compare the memory for ten times as many images, in a new process each; on a GPU also its memory."""
    few, many = settings.images, FACTOR * settings.images
    small, large = (_peaks_in_new_process(dataset, count, settings.workers) for count in (few, many))
    kinds = ("peak memory", "peak memory of the GPU")[: len(small)]
    return [
        per_item(
            "infer",
            f"{kind} of validating and ensembling, {many:,} images",
            f"the same, {few:,} images",
            "MiB",
            ours=[ours],
            theirs=[theirs],
            scale=2.0**-20,
        )
        for kind, ours, theirs in zip(kinds, large, small, strict=True)
    ]


def _peaks_in_new_process(dataset: Path, images: int, workers: int) -> list[float]:
    words = [sys.executable, "-P", "-c", _CHILD, str(dataset), str(images), str(workers)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def peaks(dataset: Path, images: int, workers: int) -> list[int]:
    """Validate the training images of a dataset, and make their masks, again and again until there are so many.

    Returns:
        The most bytes of memory that this process has had at once; on a GPU also of its memory.
    """
    world = init()
    table = SampleTable.read(dataset)
    reader = repeat_images(ShardReader(dataset, table.take(table.select("train"))), images)
    rows = np.arange(images)
    with tempfile.TemporaryDirectory() as directory:
        mean = NetworkMean([write_run(CONFIG, 1, Path(directory))], reader=reader, world=world, workers=workers)
        predictor = mean.networks.predictor(0, mean.runs[0].weights[0])
        predict_histograms(predictor, mean.loaders[0], reader, rows, world)
        Ensembler(mean, EVERY_IMAGE).run(rows)
    of_gpu = [torch.cuda.max_memory_allocated(world.device)] if world.device.type == "cuda" else []
    return [peak_memory(), *of_gpu]
