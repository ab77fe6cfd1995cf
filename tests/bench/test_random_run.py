"""As many images as asked for, and networks with weights of their own."""

from pathlib import Path

import numpy as np

from pneumo.bench.random_run import repeat_images, write_run
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.inference.config import InferenceConfig
from pneumo.modeling.config import ModelConfig


def test_images_are_repeated_under_other_ids(dataset: Path) -> None:
    reader = ShardReader(dataset, SampleTable.read(dataset))
    count = 2 * len(reader.table) + 1
    repeated = repeat_images(reader, count)
    assert len(repeated.table) == len(set(repeated.table.image_id)) == count
    for row in (0, 1, len(reader.table), count - 1):
        assert bytes(repeated.image(row)) == bytes(reader.image(row % len(reader.table)))


def test_folds_have_weights_of_their_own(tmp_path: Path) -> None:
    model = ModelConfig(encoder="mobilenet_v2", encoder_weights="none")
    config = InferenceConfig(model=model, size=32, tta=(), loader="opencv", precision="fp32", channels_last=True)
    run = write_run(config, 2, tmp_path)
    first, second = (weights.read() for weights in run.weights)
    assert first.keys() == second.keys()
    assert any(not np.array_equal(first[name], second[name]) for name in first)
