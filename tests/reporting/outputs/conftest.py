"""Predicted images whose numbers are known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.inference.ensembler import ImagePrediction, PredictedImage
from pneumo.masks import rle
from pneumo.reporting.outputs.context import OutputContext

Make = Callable[..., PredictedImage]


@pytest.fixture(scope="session")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture
def context(reader: ShardReader) -> OutputContext:
    return OutputContext(
        reader=reader,
        sources={},
        lists={"quarantine.csv": "", "left_out.csv": ""},
        account="6 files found",
        model="runs/a",
        rule="the rule",
    )


@pytest.fixture(scope="session")
def predicted(reader: ShardReader) -> Make:
    """Make the prediction of a test image: a rectangle of the given height and width is its mask."""

    def make(index: int, height: int, width: int, presence: float = 0.25) -> PredictedImage:
        row = int(reader.table.select("test")[index])
        mask = np.zeros(reader.table.shape(row), np.uint8)
        mask[20 : 20 + height, 30 : 30 + width] = 1
        prediction = ImagePrediction(
            image_id=str(reader.table.image_id[row]),
            rle=rle.encode(mask),
            presence_probability=presence,
            mask_area=int(mask.sum()),
            max_pixel_probability=0.75 if mask.any() else 0.125,
        )
        return PredictedImage(prediction, row, lambda: mask * np.float32(0.75), mask, reader)

    return make
