"""Predictions of images by a network that was not trained on them: histograms, and masks once the rules are known.

Images go through the network in fixed batches, and whole batches are divided over the ranks, so that a prediction does
not depend on the number of ranks; on a CPU it can be repeated to the last bit.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group
from pneumo.inference import metrics
from pneumo.inference.decision_rule import DecisionRule, apply_rule, score_images
from pneumo.inference.histograms import PredictionHistograms, histogram, quantize
from pneumo.inference.predictor import Predictor, to_source
from pneumo.inference.threshold_search import search
from pneumo.loading.contract import BatchPlan, Loader
from pneumo.masks import rle

BATCH_SIZE = 8
"""Images in one forward pass."""

Rows = npt.NDArray[np.int64]


class Prediction(NamedTuple):
    """A network's prediction for one image."""

    row: int
    """Row of the sample table."""
    bins: npt.NDArray[np.uint8]
    """(rows, columns) quantized probabilities at the size of the source image."""
    presence_probability: float
    """NaN without a presence head."""


def split_batches(rows: Rows) -> list[Rows]:
    """Split rows into the fixed batches."""
    return [rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)]


def plan_batches(batches: Sequence[Rows], size: int) -> Iterator[BatchPlan]:
    """Plan batches of images without augmentation."""
    for rows in batches:
        yield BatchPlan(rows=rows, positions=rows, epoch=0, size=size, seed=0, augmentation=None)


def predict(predictor: Predictor, loader: Loader, reader: ShardReader, batches: Sequence[Rows]) -> Iterator[Prediction]:
    """Yield the prediction for each image of the batches, in order."""
    table = reader.table
    for batch in loader(plan_batches(batches, predictor.size)):
        heartbeat.touch()
        pixels, presence = predictor(batch.image)
        for i, row in enumerate(batch.rows.tolist()):
            source = to_source(pixels[i], int(table.rows[row]), int(table.columns[row]))
            yield Prediction(row, quantize(source.cpu().numpy()), float(presence[i]))


def predict_histograms(
    predictor: Predictor, loader: Loader, reader: ShardReader, rows: Rows, group: Group
) -> PredictionHistograms | None:
    """Predict labeled images and gather their histograms. Collective over the group.

    Args:
        predictor: A network that was not trained on the images.
        loader: Loads the images.
        reader: Gives their true masks.
        rows: Their rows in the sample table.
        group: The ranks that share the work.

    Returns:
        The histograms in the order of ``rows`` on the group's leader, None on the others.
    """
    table = reader.table
    mine = split_batches(rows)[group.rank :: group.size]
    predicted: list[tuple[int, npt.NDArray[np.int64], float]] = []
    for prediction in predict(predictor, loader, reader, mine):
        truth = None
        if table.positive[prediction.row]:
            truth = rle.decode(reader.rle(prediction.row), *prediction.bins.shape)
        predicted.append((prediction.row, histogram(prediction.bins, truth), prediction.presence_probability))
    gathered = group.gather(predicted)
    if not group.is_leader:
        return None
    by_row = {row: (counts, presence) for part in gathered for row, counts, presence in part}
    assert sorted(by_row) == sorted(rows.tolist()), "every image once"
    ordered = [by_row[row] for row in rows.tolist()]
    counts = np.stack([counts for counts, _ in ordered]).astype(np.int32)
    return PredictionHistograms(
        image_id=table.image_id[rows],
        fold=table.fold[rows].astype(np.int16),
        patient=table.patient[rows],
        positive=table.positive[rows],
        pixels=table.rows[rows].astype(np.int64) * table.columns[rows],
        presence_probability=np.array([presence for _, presence in ordered], np.float32),
        outside=counts[:, 0],
        inside=counts[:, 1],
    )


def validation_metrics(histograms: PredictionHistograms) -> dict[str, float]:
    """Return the metrics that are logged during training.

    ``dice_best_rule`` is the mean Dice under the best decision rule for these very images: good for comparing epochs,
    and higher than on new images. ``auc`` is that of the presence head, or of the maximum pixel without one.
    """
    dice = score_images(histograms, search(histograms))
    both = metrics.auc(histograms)
    auc = both["presence_head"] if both["presence_head"] is not None else both["max_pixel"]
    found = {"dice_best_rule": float(dice.mean()), "dice_all_empty": float((~histograms.positive).mean())}
    return found if auc is None else {**found, "auc": auc}


def encode_masks(
    predictor: Predictor,
    loader: Loader,
    reader: ShardReader,
    rows: Rows,
    *,
    rules: Mapping[int, DecisionRule],
    group: Group,
) -> dict[str, str]:
    """Predict the images again that a rule calls positive, and return their masks. Collective over the group.

    Args:
        predictor: The network that gave the histograms.
        loader: Loads the images.
        reader: Gives their sizes.
        rows: The rows of the histograms, all of them, so that the batches are those of the first prediction.
        rules: The rule of each row that is called positive.
        group: The ranks that share the work.

    Returns:
        Run lengths by image id on the group's leader, an empty dictionary on the others.
    """
    needed = [batch for batch in split_batches(rows) if not rules.keys().isdisjoint(batch.tolist())]
    mine = {
        str(reader.table.image_id[p.row]): rle.encode(apply_rule(p.bins, rules[p.row], p.presence_probability))
        for p in predict(predictor, loader, reader, needed[group.rank :: group.size])
        if p.row in rules
    }
    return {image_id: mask for part in group.gather(mine) for image_id, mask in part.items()}
