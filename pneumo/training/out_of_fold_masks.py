"""The out-of-fold masks of a run: every labeled image predicted by the network that was not trained on it."""

import numpy as np

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.inference.build import build
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.nested import NestedEstimate
from pneumo.inference.out_of_fold import encode_masks
from pneumo.masks import metric, rle, submission
from pneumo.runtime.errors import UserError
from pneumo.training.fold_results import trained_weights
from pneumo.training.run_directory import RunDirectory


def predict_masks(
    run: RunDirectory,
    world: World,
    reader: ShardReader,
    histograms: PredictionHistograms,
    nested: NestedEstimate,
    *,
    workers: int,
) -> dict[str, str]:
    """Predict the masks that the rules of the nested estimate make. Collective over all ranks.

    Args:
        run: A run whose folds are all trained.
        world: The ranks that share the images.
        reader: The dataset that the run was trained on.
        histograms: Of the first prediction of all folds.
        nested: Estimated from ``histograms``.
        workers: Threads of the loader.

    Returns:
        Run lengths by image id on rank 0; on the others the empty masks alone.

    Raises:
        UserError: When the histograms are not those of the dataset's images.
    """
    table = reader.table
    loader, predictor = build(run.recipe.inference, reader, world.device, workers=workers)
    masks: dict[str, str] = dict.fromkeys(histograms.image_id.tolist(), rle.EMPTY)
    for fold, weights in enumerate(world.on_leader(lambda: trained_weights(run))):
        weights.load(predictor.network, weights.read())
        index = np.flatnonzero(histograms.fold == fold)
        rows = table.select("train", {fold})
        if table.image_id[rows].tolist() != histograms.image_id[index].tolist():
            raise UserError(
                f"{run.fold(fold).histograms} describes other images than fold {fold} of {reader.dataset} has",
                "the predictions of a fold trained on this dataset",
                "train the fold again",
            )
        chosen, positive = nested.rule_index[index].tolist(), nested.predicted_positive[index].tolist()
        rules = {
            row: nested.rules[k]
            for row, k, is_positive in zip(rows.tolist(), chosen, positive, strict=True)
            if is_positive
        }
        masks |= encode_masks(
            predictor, loader, reader, rows, rules=rules, group=world, min_component=histograms.min_component
        )
    return masks


def write_masks(
    run: RunDirectory, reader: ShardReader, histograms: PredictionHistograms, masks: dict[str, str]
) -> float:
    """Publish the out-of-fold masks, and return their mean Dice, computed from the file as for any submission."""
    rows = reader.table.select("train")
    ordered = [(image_id, masks[image_id]) for image_id in histograms.image_id.tolist()]
    submission.write(run.masks, ordered, reader.table.shapes(rows))
    truth = {str(reader.table.image_id[row]): reader.rle(row) for row in rows.tolist()}
    return float(metric.score(truth, submission.read(run.masks)).dice.mean())
