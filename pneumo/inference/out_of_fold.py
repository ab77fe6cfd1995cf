"""Predictions of images by a network that was not trained on them: histograms, and masks once the rules are known."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.distributed.collectives import Group
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.encoding import encode_batches
from pneumo.inference.histograms import BINS, PredictionHistograms, concatenate
from pneumo.inference.network_mean import NetworkMean
from pneumo.inference.prediction import PredictedBatch, count_pixels, predict, split_batches
from pneumo.inference.predictor import Predictor
from pneumo.loading.contract import Loader
from pneumo.loading.masks import read_runs
from pneumo.masks import rle
from pneumo.runtime.console import Progress


def predict_histograms(
    predictor: Predictor,
    loader: Loader,
    reader: ShardReader,
    rows: Rows,
    group: Group,
    observe: Callable[[PredictedBatch], None] = lambda _: None,
    *,
    min_component: float = 0.0,
) -> PredictionHistograms | None:
    """Predict labeled images and gather their histograms. Collective over the group.

    Args:
        predictor: A network that was not trained on the images.
        loader: Loads the images.
        reader: Gives their true masks.
        rows: Their rows in the sample table.
        group: The ranks that share the work.
        observe: Called with each of this rank's batches, before its probabilities are known to be finite.
        min_component: Connected components smaller than this are removed from masks, in pixels of a 1024x1024 image.

    Returns:
        The histograms in the order of ``rows`` on the group's leader, None on the others.
    """
    mine = split_batches(rows)[group.rank :: group.size]
    predictions = _observed(predict(predictor, loader, reader, mine), observe)
    return gather_histograms(predictions, reader, rows, group, min_component)


def _observed(batches: Iterable[PredictedBatch], observe: Callable[[PredictedBatch], None]) -> Iterator[PredictedBatch]:
    for batch in batches:
        observe(batch)
        yield batch


def predict_mean_histograms(
    mean: NetworkMean, num_folds: int, excluded: Collection[str] = (), *, min_component: float = 0.0
) -> PredictionHistograms | None:
    """Predict the labeled images of each fold by the mean of the runs' networks of this fold. Collective.

    Args:
        mean: Networks of runs with the same folds: those of a fold were not trained on its images.
        num_folds: Number of folds.
        excluded: Ids of images to leave out.
        min_component: As ``predict_histograms``.

    Returns:
        The histograms in the order of the folds on rank 0, None on the others.
    """
    world, table = mean.world, mean.reader.table
    folds = [table.select("train", {fold}) for fold in range(num_folds)]
    folds = [rows[~np.isin(table.image_id[rows], list(excluded))] for rows in folds]
    mine = [split_batches(rows)[world.rank :: world.size] for rows in folds]
    total = sum(len(batch) for batches in mine for batch in batches)
    parts = []
    with Progress("out-of-fold", total, unit="images", enabled=world.is_leader) as progress:
        for fold, (rows, batches) in enumerate(zip(folds, mine, strict=True)):
            predicted = _predict_mean(mean, batches, fold, progress)
            parts.append(gather_histograms(predicted, mean.reader, rows, world, min_component))
    return concatenate([part for part in parts if part is not None]) if world.is_leader else None


def _predict_mean(
    mean: NetworkMean, batches: Sequence[Rows], fold: int, progress: Progress
) -> Iterator[PredictedBatch]:
    for batch in mean.predict(batches, fold):
        yield batch
        progress.step(len(batch.rows))


def gather_histograms(
    batches: Iterable[PredictedBatch], reader: ShardReader, rows: Rows, group: Group, min_component: float = 0.0
) -> PredictionHistograms | None:
    """Gather the histograms of predictions of labeled images. Collective over the group.

    Args:
        batches: Of this rank's images.
        reader: Gives their true masks.
        rows: The rows of all ranks' images in the sample table.
        group: The ranks that share the work.
        min_component: As ``predict_histograms``.

    Returns:
        The histograms in the order of ``rows`` on the group's leader, None on the others.
    """
    table = reader.table

    def truth(row: int) -> rle.Runs | None:
        return read_runs(reader, row) if table.positive[row] else None

    mine = [row for batch in split_batches(rows)[group.rank :: group.size] for row in batch.tolist()]
    # Made before and filled: small arrays that stay, between large ones that do not, would keep the memory of those
    # from being used again, up to 75 KB an image.
    counts, presence = _empty(len(mine), min_component)
    end = 0
    for batch, counts_of_batch, presence_of_batch, kept in count_pixels(batches, group.device, truth, min_component):
        first, end = end, end + len(batch.rows)
        assert mine[first:end] == list(batch.rows), "the batches are in order"
        counts[first:end, 0], presence[first:end] = counts_of_batch, presence_of_batch
        if kept is not None:
            counts[first:end, 1] = kept
    assert end == len(mine), "every image once"
    gathered = group.gather((mine, counts, presence))
    if not group.is_leader:
        return None
    if group.size > 1:
        position = {row: i for i, row in enumerate(rows.tolist())}
        counts, presence = _empty(len(rows), min_component)
        for of_rank, counts_of_rank, presence_of_rank in gathered:
            index = [position[row] for row in of_rank]
            counts[index], presence[index] = counts_of_rank, presence_of_rank
    return PredictionHistograms(
        image_id=np.array(table.image_id[rows].tolist(), np.str_),
        fold=table.fold[rows].astype(np.int16),
        patient=table.patient[rows],
        positive=table.positive[rows],
        pixels=table.rows[rows].astype(np.int64) * table.columns[rows],
        presence_probability=presence,
        outside=counts[:, 0, 0],
        inside=counts[:, 0, 1],
        min_component=min_component,
        kept_outside=counts[:, 1, 0] if min_component > 0 else None,
        kept_inside=counts[:, 1, 1] if min_component > 0 else None,
    )


def _empty(images: int, min_component: float) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return room for the histograms (images, 1 or 2, 2, 256), the opened map's behind the map's, and the presence."""
    return np.empty((images, 1 + (min_component > 0), 2, BINS), np.int32), np.empty(images, np.float32)


def encode_masks(
    predictor: Predictor,
    loader: Loader,
    reader: ShardReader,
    rows: Rows,
    *,
    rules: Mapping[int, DecisionRule],
    group: Group,
    min_component: float = 0.0,
) -> dict[str, str]:
    """Predict the images again that a rule calls positive, and return their masks. Collective over the group.

    Args:
        predictor: The network that gave the histograms.
        loader: Loads the images.
        reader: Gives their sizes.
        rows: The rows of the histograms, all of them, so that the batches are those of the first prediction.
        rules: The rule of each row that is called positive.
        group: The ranks that share the work.
        min_component: That of the histograms.

    Returns:
        Run lengths by image id on the group's leader, an empty dictionary on the others.
    """
    needed = [batch for batch in split_batches(rows) if not rules.keys().isdisjoint(batch.tolist())]
    counted = count_pixels(predict(predictor, loader, reader, needed[group.rank :: group.size]), group.device)
    masks = encode_batches(counted, rules.get, group.device, min_component=min_component)
    mine = {str(reader.table.image_id[mask.row]): mask.rle for mask in masks}
    return {image_id: mask for part in group.gather(mine) for image_id, mask in part.items()}
