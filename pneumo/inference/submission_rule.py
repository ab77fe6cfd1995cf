"""The decision rule of the mean of all folds' networks, found on images that none of them has seen.

These are a dataset's test images; without them its unlabeled images, where no network was trained on them. Their
masks need not be known: see ``rule_transfer``.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from pneumo.dataset.table import Rows, SampleTable
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.histograms import BINS, at_least
from pneumo.inference.metrics import SubmissionRule
from pneumo.inference.network_mean import NetworkMean
from pneumo.inference.prediction import PredictedBatch, count_pixels, split_batches
from pneumo.inference.rule_transfer import UnlabeledPredictions, transfer
from pneumo.loading.damaged import find_damaged
from pneumo.runtime.console import Progress

MAX_IMAGES = 500
"""Images that are predicted, at most. Among so many, the share of positive ones is known to about 1 %."""


class UnseenImages(NamedTuple):
    """Images that no network was trained on."""

    split: Literal["test", "unlabeled"]
    rows: Rows
    """Ascending rows of the sample table."""


def unseen_images(table: SampleTable, *, unlabeled: bool) -> UnseenImages:
    """Return the images to find the rule on, at most ``MAX_IMAGES``, the same ones for the same table.

    Args:
        table: The sample table.
        unlabeled: Whether unlabeled images are taken where there are no test images.
    """
    rows = table.select("test")
    split: Literal["test", "unlabeled"] = "test"
    if unlabeled and not len(rows):
        split, rows = "unlabeled", table.select("unlabeled")
    if len(rows) > MAX_IMAGES:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_IMAGES, replace=False))
    return UnseenImages(split, rows)


def find_submission_rule(rule: DecisionRule, mean: NetworkMean, images: UnseenImages) -> SubmissionRule | None:
    """Move the rule of single networks to where it suits their mean. Collective over all ranks.

    Args:
        rule: Chosen on out-of-fold predictions, for each of which the networks of one fold were averaged.
        mean: The networks of all folds.
        images: What to predict. Damaged ones are left out.

    Returns:
        The same on every rank; None where the rule is to stay as it is, as ``transfer`` says, and with a single fold.
    """
    world = mean.world
    # Nothing to move, or nothing to find it on: then nothing is predicted.
    if rule.is_never or not len(images.rows) or len(mean.runs[0].weights) < 2:
        return None
    damaged = find_damaged(mean.reader, images.rows, world, workers=mean.workers)
    predictions = _predict(mean, images.rows[~np.isin(images.rows, list(damaged))])
    return world.on_leader(lambda: _move(rule, predictions, images.split))


def _move(
    rule: DecisionRule, predictions: Sequence[UnlabeledPredictions], split: Literal["test", "unlabeled"]
) -> SubmissionRule | None:
    *networks, mean = predictions
    moved = transfer(rule, networks, mean)
    if moved is None:
        return None
    count = len(mean.pixels)
    of_networks = sum(each.count_positive(rule) for each in networks) / len(networks)
    return SubmissionRule(
        rule=moved.in_probabilities(),
        split=split,
        images=count,
        positive_share_of_networks=of_networks / count,
        positive_share_before=mean.count_positive(rule) / count,
        positive_share=mean.count_positive(moved) / count,
    )


def _predict(mean: NetworkMean, rows: Rows) -> list[UnlabeledPredictions]:
    """Return the predictions of each fold's networks, and last those of all, on rank 0; nothing on the others."""
    world = mean.world
    batches = split_batches(rows)[world.rank :: world.size]
    mine = [row for batch in batches for row in batch.tolist()]
    several = len(mean.runs[0].weights) + 1
    counts, presence = np.empty((len(mine), several, BINS), np.int32), np.empty((len(mine), several), np.float32)
    with Progress("rule of the mean", len(mine), unit="images", enabled=world.is_leader) as progress:
        first = 0
        for i, counted in enumerate(count_pixels(_in_turn(mean, batches), world.device)):
            last = first + len(counted.batch.rows)
            counts[first:last, i % several] = counted.counts.sum(axis=1)
            presence[first:last, i % several] = counted.presence
            if i % several == several - 1:
                progress.step(last - first)
                first = last
    gathered = world.gather((mine, counts, presence))
    if not world.is_leader:
        return []
    order = np.argsort([row for part in gathered for row in part[0]], kind="stable")
    all_counts, all_presence = (np.concatenate([part[i] for part in gathered])[order] for i in (1, 2))
    return [
        UnlabeledPredictions(
            predicted=at_least(all_counts[:, k].astype(np.int64)), presence_probability=all_presence[:, k]
        )
        for k in range(several)
    ]


def _in_turn(mean: NetworkMean, batches: Sequence[Rows]) -> Iterator[PredictedBatch]:
    for of_batch in mean.predict_folds(batches):
        yield from of_batch
