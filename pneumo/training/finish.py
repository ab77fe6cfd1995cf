"""The end of a run: from the folds' evidence to the rules, the out-of-fold figures and masks, and the submission."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import REPAIR_HINT, ShardReader
from pneumo.distributed.world import World
from pneumo.inference import decision_rule, histograms, metrics, out_of_fold
from pneumo.inference.decision_rule import DecisionRule, NestedEstimate
from pneumo.inference.ensembler import EnsembleMember, Ensembler, ImagePrediction, load_weights, order_rows
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.predictor import Predictor
from pneumo.loading import damage
from pneumo.loading.build import build_loader
from pneumo.masks import annotations, metric, rle, submission
from pneumo.modeling import models
from pneumo.reporting import examples, overlays
from pneumo.runtime import documents
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_text, remove_temporary_files
from pneumo.training import damaged
from pneumo.training.run_directory import RunDirectory

FORMAT_VERSION = 1


def finish(run: RunDirectory, world: World, reader: ShardReader, *, workers: int) -> None:
    """Write a run's evidence, rules, out-of-fold masks and figures, unless they are there.

    Collective over all ranks, under the run's lock. What the run left out is neither scored nor predicted. The masks
    need the dataset that the run was trained on; with another one (new test images) they are left for a later call.

    Raises:
        UserError: When folds are missing.
    """
    if world.is_leader:
        remove_temporary_files(run.path)
    own_dataset = Manifest.read(reader.dataset).digest == run.dataset.digest
    if run.metrics.is_file() and (run.masks.is_file() or not own_dataset):
        return
    if run.unfinished_folds:
        raise UserError(
            f"{run.path} has no finished fold {', '.join(map(str, run.unfinished_folds))}",
            f"all {run.dataset.num_folds} folds",
            "train them with the same job/train.py command",
        )
    reader = reader.exclude(run.dataset.excluded)
    evidence = [PredictionHistograms.read(run.fold(k).histograms) for k in range(run.dataset.num_folds)]
    together = histograms.concatenate(evidence)
    nested = world.broadcast(decision_rule.nested_estimate(together) if world.is_leader else None)
    assert nested is not None
    masks: dict[str, str] | None = None
    if own_dataset:
        masks = _masks(run, world, reader, nested, together, workers)
    if world.is_leader:
        _publish(run, together, nested, masks, reader)
    world.barrier()


def _masks(
    run: RunDirectory,
    world: World,
    reader: ShardReader,
    nested: NestedEstimate,
    evidence: PredictionHistograms,
    workers: int,
) -> dict[str, str]:
    """Predict the out-of-fold masks under the nested rules; all of them on the leader."""
    recipe, table = run.recipe, reader.table
    loader = build_loader(recipe.loader, reader, table, world.device, workers=workers)
    model = models.build(replace(recipe.model, encoder_weights="none")).to(world.device).eval()
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)
    predictor = Predictor(
        model,
        size=recipe.stages[-1].image_size,
        tta=recipe.tta,
        device=world.device,
        autocast=world.accelerator.autocast,
        channels_last=recipe.channels_last,
    )
    masks: dict[str, str] = dict.fromkeys(evidence.image_id.tolist(), rle.EMPTY)
    for fold in range(run.dataset.num_folds):
        load_weights(model, run.fold(fold).model)
        index = np.flatnonzero(evidence.fold == fold)
        rows = table.select("train", {fold})
        if table.image_id[rows].tolist() != evidence.image_id[index].tolist():
            raise UserError(
                f"{run.fold(fold).histograms} tells of other images than fold {fold} of {reader.dataset} has",
                "the evidence of a fold trained on this dataset",
                "train the fold again",
            )
        parts, decided = nested.part[index].tolist(), nested.predicted_positive[index].tolist()
        rules = {
            row: nested.rules[part]
            for row, part, positive in zip(rows.tolist(), parts, decided, strict=True)
            if positive
        }
        masks |= out_of_fold.encode_masks(predictor, loader, reader, rows, rules=rules, group=world)
    return masks


def _publish(
    run: RunDirectory,
    evidence: PredictionHistograms,
    nested: NestedEstimate,
    masks: dict[str, str] | None,
    reader: ShardReader,
) -> None:
    """Write what a finished run leaves behind; the figures last, as they say that the rest is there."""
    figures = metrics.compute_metrics(evidence, nested)
    figures["excluded"] = len(run.dataset.excluded)
    figures["caveats"] = caveats(run, len(evidence))
    evidence.write(run.histograms)
    publish_text(run.thresholds, _json({"format_version": FORMAT_VERSION, "rule": nested.final.to_json()}))
    if masks is not None:
        figures["oof_csv_dice"] = _write_masks(run, evidence, masks, reader)
        difference = abs(figures["oof_csv_dice"] - float(nested.dice.mean()))
        if difference > 1e-9:
            log.warning(
                "the masks of %s score %.2g away from their evidence: predictions differ", run.masks, difference
            )
        overlays.save(run.picture, examples.picture(evidence, nested, masks, reader))
    publish_text(run.metrics, _json({"format_version": FORMAT_VERSION, **figures}))
    log.info("%s\n%s", run.metrics, metrics.describe(figures))
    for caveat in figures["caveats"]:
        log.warning("%s", caveat)


def caveats(run: RunDirectory, images: int) -> list[str]:
    """Say what is missing from the out-of-fold figures, and what makes them look better than they are."""
    found = damaged.caveats(run.dataset.excluded)
    if run.dataset.patients >= images + len(run.dataset.excluded):
        found.append("no two images are known to be of one patient: folds may leak, and the figures may flatter")
    if run.recipe.keep == "best" or run.recipe.patience > 0:
        found.append("each fold's weights or length were chosen on its own images: the figures flatter a little")
    return found


def _write_masks(
    run: RunDirectory, evidence: PredictionHistograms, masks: dict[str, str], reader: ShardReader
) -> float:
    """Write the out-of-fold masks and return their score, taken from the file like any other submission's."""
    table = reader.table
    rows = table.select("train")
    shapes = {str(table.image_id[r]): (int(table.rows[r]), int(table.columns[r])) for r in rows.tolist()}
    submission.write(run.masks, [(image_id, masks[image_id]) for image_id in evidence.image_id.tolist()], shapes)
    truth = {str(table.image_id[r]): reader.rle(r) for r in rows.tolist()}
    return metric.summarize(metric.score(truth, submission.read(run.masks))).dice


def read_rule(run: RunDirectory) -> DecisionRule:
    """Read the rule that was chosen on all of a run's folds.

    Raises:
        UserError: When the file is missing or not what ``finish`` wrote.
    """
    try:
        return DecisionRule.from_json(documents.read(run.thresholds).get("rule"))
    except (OSError, ValueError) as error:
        raise UserError(f"{run.thresholds}: {error}", "the rule of a finished run", "restore the file") from error


def write_submission(
    runs: Sequence[RunDirectory],
    *,
    world: World,
    reader: ShardReader,
    out: Path,
    workers: int,
    expected: Path | None = None,
    weights: Sequence[float] = (),
    min_component: float = 0.0,
    skip_damaged: bool = False,
) -> list[ImagePrediction]:
    """Predict the dataset's test images with finished runs, and publish a checked submission from rank 0.

    Collective over all ranks.

    Args:
        runs: Finished runs.
        world: The ranks that share the images.
        reader: The dataset.
        out: Where the submission goes.
        workers: Threads of the loader.
        expected: CSV with the ids, and their order, that the submission must have; by default the dataset's.
        weights: Weight of each run in the mean; equal when empty.
        min_component: See ``Ensembler``.
        skip_damaged: Give test images that cannot be used an empty mask, and say so: a submission must have a row for
            each, and empty is right for most images. Without it the first such image is an error.

    Returns:
        The findings of the test images that were predicted on rank 0, an empty list on the others.

    Raises:
        UserError: When there are no test images that can be used, or ids or shares do not fit.
    """
    table = reader.table
    rows = table.select("test")
    if not len(rows):
        raise UserError(
            f"{reader.dataset} has no test images", "test images", "build a dataset with job/shard.py --test-dicom"
        )
    wanted = None if expected is None else annotations.read_ids(expected)
    parts = _normalize_weights(runs, weights)
    members = [
        EnsembleMember(
            model=run.recipe.model,
            size=run.recipe.stages[-1].image_size,
            weight_files=tuple(run.fold(k).model for k in range(run.dataset.num_folds)),
            weight=share,
            tta=run.recipe.tta,
        )
        for run, share in zip(runs, parts, strict=True)
    ]
    rule = blend([read_rule(run) for run in runs], parts)
    ensembler = Ensembler(members, rule, reader=reader, world=world, workers=workers, min_component=min_component)
    damaged = _damaged(reader, rows, world, workers) if skip_damaged else []
    findings = ensembler.run(rows[~np.isin(rows, damaged)])
    if world.is_leader:
        encoded = dict.fromkeys(table.image_id[rows].tolist(), rle.EMPTY) | {f.image_id: f.rle for f in findings}
        shapes = {str(table.image_id[r]): (int(table.rows[r]), int(table.columns[r])) for r in rows.tolist()}
        ordered = order_rows(encoded, wanted, log.warning) if wanted is not None else list(encoded.items())
        # Beside the user's file may lie anything else of theirs.
        remove_temporary_files(out.parent, out.name)
        submission.write(out, ordered, shapes, expected=wanted)
        positive = sum(mask != rle.EMPTY for _, mask in ordered)
        log.info("%s: %d images, %d positive (%s)", out, len(ordered), positive, rule.describe())
    world.barrier()
    return findings


def _damaged(reader: ShardReader, rows: npt.NDArray[np.int64], world: World, workers: int) -> list[int]:
    """Return the test images that cannot be used, and say what becomes of them."""
    found = damage.find_damaged(reader, rows, world, workers=workers)
    if len(found) == len(rows):
        raise UserError(
            f"none of {len(rows)} test images can be used, first: {next(iter(found.values()))}",
            "whole images",
            REPAIR_HINT,
        )
    for reason in found.values() if world.is_leader else ():
        log.warning("damaged test image, NOT predicted, gets an empty mask: %s", reason)
    return list(found)


def _normalize_weights(runs: Sequence[RunDirectory], weights: Sequence[float]) -> list[float]:
    """Return the runs' weights, which sum to 1."""
    if not weights:
        return [1 / len(runs)] * len(runs)
    if len(weights) != len(runs) or min(weights) <= 0:
        raise UserError(
            f"--weights {' '.join(map(str, weights))}",
            f"{len(runs)} values above 0, one for each run",
            "correct --weights",
        )
    return [share / sum(weights) for share in weights]


def blend(rules: Sequence[DecisionRule], weights: Sequence[float]) -> DecisionRule:
    """Return the mean of the runs' rules, weighted by their shares, as the 1st place blended its experiments'.

    The evidence of different runs cannot be averaged image by image (histograms forget where a pixel lies), so the
    rule of a blend is a blend of rules. The mean of probabilities is calmer than its parts, and so this is an
    approximation; with one run it is that run's own rule.
    """
    top, area, bottom, head = np.average(
        [[r.top_threshold, r.min_area, r.bottom_threshold, r.presence_threshold] for r in rules],
        axis=0,
        weights=weights,
    )
    return DecisionRule(round(top), float(area), min(round(bottom), round(top)), float(head))


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
