"""Batches, and the prediction of each image."""

import numpy as np
import pytest
from plain_predictions import predict_one

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.histograms import quantize
from pneumo.inference.prediction import BATCH_SIZE, plan_batches, predict, split_batches
from pneumo.inference.predictor import Predictor
from pneumo.loading.contract import Loader


def test_every_batch_but_the_last_is_full() -> None:
    rows = np.arange(5, 5 + 2 * BATCH_SIZE + 3)
    split = split_batches(rows)
    assert [len(batch) for batch in split] == [BATCH_SIZE, BATCH_SIZE, 3]
    assert np.concatenate(split).tolist() == rows.tolist()
    assert split_batches(rows[:0]) == []
    plans = list(plan_batches(split, 32))
    assert [plan.rows.tolist() for plan in plans] == [batch.tolist() for batch in split]
    assert all(plan.augmentation is None and plan.size == 32 for plan in plans)


def test_each_image_is_predicted_at_the_size_of_its_source(
    reader: ShardReader, loader: Loader, predictor: Predictor
) -> None:
    rows = reader.table.select("test")
    predictions = list(predict(predictor, loader, reader, split_batches(rows)))
    assert [prediction.row for prediction in predictions] == rows.tolist()
    for prediction in predictions:
        pixels, presence = predict_one(reader, loader, prediction.row)
        assert np.array_equal(prediction.bins, quantize(pixels))
        assert prediction.presence_probability == pytest.approx(presence, abs=1e-6)
