"""The decision rule of the mean of all folds' networks, found on test images, which none of them has seen.

Their masks need not be known: see ``rule_transfer``.
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from pneumo.dataset.table import Rows, SampleTable
from pneumo.inference import rule_transfer
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import BINS, at_least
from pneumo.inference.metrics import SubmissionRule
from pneumo.inference.network_mean import NetworkMean
from pneumo.inference.prediction import PredictedBatch, count_pixels, split_batches
from pneumo.inference.rule_transfer import UnlabeledPredictions, transfer
from pneumo.loading.damaged import find_damaged
from pneumo.runtime.console import Progress, log
from pneumo.runtime.errors import counted

MAX_IMAGES = 500
"""Images that are predicted, at most: on a laptop's cores as many take minutes."""


def unseen_images(table: SampleTable, seen: Collection[str] = ()) -> Rows:
    """Return rows of test images, ascending, at most ``MAX_IMAGES``, the same ones for the same table.

    Args:
        table: The sample table.
        seen: Ids of images that a network was trained on, which another dataset may have as test images.
    """
    rows = table.select("test")
    rows = rows[~np.isin(table.image_id[rows], list(seen))] if seen else rows
    if len(rows) > MAX_IMAGES:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_IMAGES, replace=False))
    return rows


def can_move(rule: DecisionRule, folds: int, rows: Rows) -> bool:
    """Return whether there is a mean of several folds, a rule to move, and an image to move it on."""
    return folds > 1 and not rule.is_never and len(rows) > 0


def find_submission_rule(
    rule: DecisionRule, mean: NetworkMean, rows: Rows, min_component: float = 0.0
) -> SubmissionRule | None:
    """Move the rule of single networks to where it suits their mean. Collective over all ranks.

    Args:
        rule: Chosen on out-of-fold predictions, each of them by the networks of one fold.
        mean: The networks of all folds.
        rows: The images to predict, which no network has seen. Damaged ones are left out.
        min_component: Connected components smaller than this are removed from masks, in pixels of a 1024x1024 image.

    Returns:
        The same on every rank, with the rule as it is where ``transfer`` finds no other. None where nothing was
        predicted: by ``can_move``, or since all images are damaged.
    """
    world = mean.world
    if not can_move(rule, len(mean.runs[0].weights), rows):
        return None
    damaged = find_damaged(mean.reader, rows, world, workers=mean.workers)
    if damaged and world.is_leader:
        text = "the rule of the mean is found without %d of %s, damaged: job/verify.py names them"
        log.warning(text, len(damaged), counted(len(rows), "test image"))
    predictions = _predict(mean, rows[~np.isin(rows, list(damaged))], min_component)
    return world.on_leader(lambda: _move(rule, predictions))


def _move(rule: DecisionRule, predictions: Sequence[UnlabeledPredictions]) -> SubmissionRule | None:
    *networks, mean = predictions
    images = len(mean.pixels)
    if not images:
        return None
    moved = transfer(rule, networks, mean) or rule
    positive = sum(each.count_positive(rule) for each in networks) / len(networks)
    return SubmissionRule(
        rule=moved.in_probabilities(),
        images=images,
        positive_share_of_networks=positive / images,
        positive_share_before=mean.count_positive(rule) / images,
        positive_share=mean.count_positive(moved) / images,
        enough_positive=positive >= rule_transfer.MIN_POSITIVE,
    )


def _predict(mean: NetworkMean, rows: Rows, min_component: float) -> list[UnlabeledPredictions]:
    """Return the predictions of each fold's networks, and last those of all, on rank 0; nothing on the others."""
    world = mean.world
    batches = split_batches(rows)[world.rank :: world.size]
    mine = [row for batch in batches for row in batch.tolist()]
    several = len(mean.runs[0].weights) + 1
    # Of each prediction the histogram of the map, and that of the opened map.
    counts = np.empty((len(mine), several, 2, BINS), np.int32)
    presence = np.empty((len(mine), several), np.float32)
    with Progress("rule of the mean", len(mine), unit="images", enabled=world.is_leader) as progress:
        first = 0
        in_turn = count_pixels(_in_turn(mean, batches), world.device, min_component=min_component)
        for i, found in enumerate(in_turn):
            last, k = first + len(found.batch.rows), i % several
            kept = found.counts if found.kept is None else found.kept
            counts[first:last, k, 0], counts[first:last, k, 1] = found.counts.sum(axis=1), kept.sum(axis=1)
            presence[first:last, k] = found.presence
            if k == several - 1:
                progress.step(last - first)
                first = last
    gathered = world.gather((mine, counts, presence))
    if not world.is_leader:
        return []
    order = np.argsort([row for part in gathered for row in part[0]], kind="stable")
    counts, presence = (np.concatenate([part[i] for part in gathered])[order] for i in (1, 2))
    return [
        UnlabeledPredictions(
            predicted=at_least(counts[:, k, 0].astype(np.int64)),
            masked=at_least(counts[:, k, 1].astype(np.int64)),
            presence_probability=presence[:, k],
        )
        for k in range(several)
    ]


def _in_turn(mean: NetworkMean, batches: Sequence[Rows]) -> Iterator[PredictedBatch]:
    for of_batch in mean.predict_folds(batches):
        yield from of_batch
