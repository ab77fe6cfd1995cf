"""Batches, and the prediction of each image."""

import numpy as np
import pytest
from plain_histograms import quantize
from plain_predictions import predict_one

from pneumo.dataset.shard_reader import ShardReader
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
    assert all(plan.augmentation is None and plan.size == 32 and not plan.with_masks for plan in plans)


def test_each_image_is_predicted_at_the_size_of_its_source(
    reader: ShardReader, loader: Loader, predictor: Predictor
) -> None:
    rows = reader.table.select("test")
    predicted = list(predict(predictor, loader, reader, split_batches(rows)))
    assert [row for batch in predicted for row in batch.rows] == rows.tolist()
    for batch, i in ((each, i) for each in predicted for i in range(len(each.rows))):
        pixels, presence = predict_one(reader, loader, batch.rows[i])
        assert np.array_equal(batch.bins(i).numpy(), quantize(pixels))
        assert float(batch.presence[i]) == pytest.approx(presence, abs=1e-6)
