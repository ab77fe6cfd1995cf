"""Predictions of images by the network that never saw them: evidence while training, masks once the rules are known.

Images go through the network in fixed batches, and ranks share out whole batches, so that a prediction does not
depend on the number of ranks and can be repeated to the last bit.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group
from pneumo.inference import decision_rule, histograms, metrics
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.predictor import Predictor, to_source
from pneumo.loading.contract import BatchPlan, Loader
from pneumo.masks import rle
from pneumo.runtime.console import Progress

BATCH = 8
"""Images in one forward pass."""

Rows = npt.NDArray[np.int64]


class Prediction(NamedTuple):
    """What a network says about one image."""

    row: int
    """Row of the sample table."""
    bins: npt.NDArray[np.uint8]
    """(rows, columns) probability bins at the image's own size."""
    presence_probability: float
    """Probability that there is a pneumothorax; NaN without an empty-mask head."""


def chunks(rows: Rows) -> list[Rows]:
    """Cut rows into the fixed batches."""
    return [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


def plans(batches: Sequence[Rows], size: int) -> Iterator[BatchPlan]:
    """Plan batches of images as they are."""
    for rows in batches:
        yield BatchPlan(rows=rows, positions=rows, epoch=0, size=size, seed=0, augmentation=None)


def predict(predictor: Predictor, loader: Loader, reader: ShardReader, batches: Sequence[Rows]) -> Iterator[Prediction]:
    """Yield the prediction of each image of the batches, in order."""
    table = reader.table
    for batch in loader(plans(batches, predictor.size)):
        heartbeat.touch()
        pixels, head = predictor(batch.image)
        for i, row in enumerate(batch.rows.tolist()):
            source = to_source(pixels[i], int(table.rows[row]), int(table.columns[row]))
            yield Prediction(row, histograms.quantize(source.cpu().numpy()), float(head[i]))


def predict_histograms(
    predictor: Predictor, loader: Loader, reader: ShardReader, rows: Rows, group: Group, *, speaks: bool = False
) -> PredictionHistograms | None:
    """Gather the evidence of labelled images over a group of ranks.

    Args:
        predictor: The network that never saw the images.
        loader: Loads them.
        reader: Gives their true masks.
        rows: Their rows in the sample table.
        group: Ranks that share the work; each calls this.
        speaks: Whether this rank shows progress.

    Returns:
        The evidence in the order of ``rows`` on the group's leader, None on the others.
    """
    table = reader.table
    mine = chunks(rows)[group.rank :: group.size]
    seen: list[tuple[int, npt.NDArray[np.int64], float]] = []
    with Progress("validate", sum(map(len, mine)), unit="images", enabled=speaks) as progress:
        for prediction in predict(predictor, loader, reader, mine):
            truth = None
            if table.positive[prediction.row]:
                truth = rle.decode(reader.rle(prediction.row), *prediction.bins.shape)
            histogram = histograms.histogram(prediction.bins, truth)
            seen.append((prediction.row, histogram, prediction.presence_probability))
            progress.step()
    gathered = group.gather(seen)
    if not group.is_leader:
        return None
    by_row = {row: (histogram, head) for part in gathered for row, histogram, head in part}
    assert sorted(by_row) == sorted(rows.tolist()), "every image once"
    ordered = [by_row[row] for row in rows.tolist()]
    per_image = np.stack([histogram for histogram, _ in ordered]).astype(np.int32)
    return PredictionHistograms(
        image_id=table.image_id[rows],
        fold=table.fold[rows].astype(np.int16),
        patient=table.patient[rows],
        positive=table.positive[rows],
        pixels=table.rows[rows].astype(np.int64) * table.columns[rows],
        presence_probability=np.array([head for _, head in ordered], np.float32),
        outside=per_image[:, 0],
        inside=per_image[:, 1],
    )


def validation_metrics(evidence: PredictionHistograms) -> dict[str, float]:
    """Return what is watched during training.

    ``score`` is the mean Dice under the best rule for these very images, so it is for comparing epochs and flatters;
    ``auc`` is that of the empty decision, by the head where there is one, else by the highest pixel.
    """
    rule = decision_rule.search(evidence)
    dice = decision_rule.score_images(evidence, rule)
    found = metrics.auc(evidence)
    auc = found["head"] if found["head"] is not None else found["highest_pixel"]
    named = {"score": float(dice.mean()), "all_empty": float((~evidence.positive).mean())}
    return named if auc is None else {**named, "auc": auc}


def encode_masks(
    predictor: Predictor,
    loader: Loader,
    reader: ShardReader,
    rows: Rows,
    *,
    rules: Mapping[int, DecisionRule],
    group: Group,
) -> dict[str, str]:
    """Predict again the images that a rule calls positive, and return their masks.

    Args:
        predictor: The network that gave the evidence.
        loader: Loads the images.
        reader: Names their sizes.
        rows: The rows of the evidence, all of them: batches are cut as they were then.
        rules: The rule of each row that is called positive.
        group: Ranks that share the work; each calls this.

    Returns:
        Run lengths by image id on the group's leader, an empty dictionary on the others.
    """
    needed = [chunk for chunk in chunks(rows) if not rules.keys().isdisjoint(chunk.tolist())]
    mine = {
        str(reader.table.image_id[p.row]): rle.encode(
            decision_rule.apply_rule(p.bins, rules[p.row], p.presence_probability)
        )
        for p in predict(predictor, loader, reader, needed[group.rank :: group.size])
        if p.row in rules
    }
    return {image_id: mask for part in group.gather(mine) for image_id, mask in part.items()}
