"""The results of a run whose folds are all trained: decision rule, out-of-fold masks and metrics."""

import logging
from dataclasses import replace

import torch

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.inference import metrics
from pneumo.inference.decision_rule import DecisionRule, write_rule
from pneumo.inference.evaluation import compute_metrics
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import SubmissionRule
from pneumo.inference.nested import NestedEstimate
from pneumo.inference.rule_choice import choose
from pneumo.inference.rule_transfer import MIN_POSITIVE
from pneumo.inference.submission_rule import can_move, find_submission_rule, unseen_images
from pneumo.reporting import examples, overlays
from pneumo.runtime.console import log
from pneumo.runtime.errors import counted
from pneumo.runtime.files import remove_temporary_files
from pneumo.training import out_of_fold_masks
from pneumo.training.ensemble import build_mean
from pneumo.training.excluded import exclusion_caveats
from pneumo.training.finished_run import require_finished_folds
from pneumo.training.fold_results import read_histograms, read_history
from pneumo.training.run_directory import RunDirectory

GPU_ROUNDING = 5e-3
"""Largest difference of the mean Dice of two predictions by one network on a GPU. On one CPU they are equal."""


def finish_run(run: RunDirectory, world: World, reader: ShardReader, *, workers: int) -> None:
    """Write a run's prediction histograms, decision rule, out-of-fold masks and metrics, unless they exist.

    Collective over all ranks, under the run's lock. Images that the run excluded are neither predicted nor scored. The
    masks need the dataset that the run was trained on; with another one (new test images) a later call writes them.

    Raises:
        UserError: When folds are not trained, or metrics.json is of another format version.
    """
    if world.is_leader:
        remove_temporary_files(run.path)
    dataset = world.on_leader(lambda: Manifest.read(reader.dataset))
    own_dataset = was_trained_on(run, dataset)
    if world.on_leader(lambda: _is_finished_now(run, dataset)):
        return
    reader = reader.exclude(run.dataset.excluded)
    histograms = world.on_leader(lambda: read_histograms(run))
    nested = world.on_leader(lambda: choose(histograms))
    masks: dict[str, str] | None = None
    moved: SubmissionRule | None = None
    if own_dataset:
        masks = out_of_fold_masks.predict_masks(run, world, reader, histograms, nested, workers=workers)
        moved = _find_submission_rule(run, nested.final, world, reader, workers=workers)
    world.on_leader(lambda: _publish(run, reader, histograms, nested, masks, moved, device=world.device))


def _find_submission_rule(
    run: RunDirectory, rule: DecisionRule, world: World, reader: ShardReader, *, workers: int
) -> SubmissionRule | None:
    """Move a run's rule on the test images of its dataset. Collective."""
    rows = unseen_images(reader.table)
    if not can_move(rule, run.dataset.num_folds, rows):
        return None
    mean = build_mean([run], reader=reader, world=world, workers=workers)
    return find_submission_rule(rule, mean, rows, run.recipe.min_component)


def is_finished(run: RunDirectory, dataset: Manifest) -> bool:
    """Return whether ``finish_run`` has nothing left to write, so that the run may be on a read-only mount.

    Raises:
        UserError: When metrics.json is of another format version.
    """
    if not run.metrics.is_file():
        return False
    found = metrics.read(run.metrics)
    # Metrics of before the masks have neither their Dice nor the rule of the mean.
    has_masks = run.masks.is_file() and found.oof_csv_dice is not None
    return run.thresholds.is_file() and (has_masks or not was_trained_on(run, dataset))


def _is_finished_now(run: RunDirectory, dataset: Manifest) -> bool:
    """Return whether a run is finished, with a missing rule written again; refuse one whose folds are not trained."""
    if run.metrics.is_file() and not run.thresholds.is_file():
        write_rule(run.thresholds, metrics.rule_for_new_images(metrics.read(run.metrics)))
        log.info("wrote %s again, from %s", run.thresholds, run.metrics)
    if is_finished(run, dataset):
        return True
    require_finished_folds(run)
    return False


def was_trained_on(run: RunDirectory, dataset: Manifest) -> bool:
    """Return whether a run was trained on a dataset, with the same test images."""
    return dataset.samples_digest == run.dataset.digest


def caveats(run: RunDirectory, images: int, positives: int) -> list[str]:
    """Describe what the out-of-fold metrics exclude, and what makes them better than on new images."""
    found = exclusion_caveats(run.dataset.excluded)
    if not positives:
        found.append(
            f"none of {counted(images, 'image')} has a pneumothorax: nothing was learned, and any empty mask scores 1"
        )
    if run.dataset.patients >= images + len(run.dataset.excluded):
        found.append("no two images are known to be of one patient: folds may leak, and the metrics may be too high")
    if run.recipe.chooses_by_own_images:
        chosen = "each fold's weights, learning rates or length were chosen on its own images"
        found.append(f"{chosen}: the metrics are a little too high")
    return found


def _networks(run: RunDirectory) -> str:
    """Say whose predictions the metrics are of."""
    members = run.recipe.best_checkpoints
    return "single networks" if members == 1 else f"means of a fold's {members} networks"


def _submission(run: RunDirectory) -> str:
    """Say of how many networks a submission is the mean: by their number alone where each fold has one."""
    members = run.recipe.best_checkpoints
    return f"{run.dataset.num_folds}" if members == 1 else f"all {run.dataset.num_folds * members}"


def _rule_caveats(run: RunDirectory, rule: DecisionRule, moved: SubmissionRule | None) -> list[str]:
    """Describe what is particular about the rule of a run's submission."""
    found = []
    text = f"the metrics are of {_networks(run)}, while a submission is the mean of {_submission(run)}"
    if moved is not None and moved.enough_positive:
        found.append(
            f"{text}, whose rule was found on {counted(moved.images, 'test image')} without their masks: no labeled"
            " image can score it, since each was seen by all networks but those of its fold"
        )
    elif run.dataset.num_folds > 1:
        text += (
            " by the rule that was chosen for one, and may be too strict for it: on 774 real X-rays such a mean called"
            " 2.3 % of the pneumothoraces positive, and one network 9.6 %"
        )
        if moved is not None:
            found.append(f"{text}; to move it, {MIN_POSITIVE} positive test images are needed")
        elif rule.is_never:
            found.append(text)
        else:
            found.append(f"{text}; on a dataset with test images (job/shard.py --test-dicom) it is moved")
    if rule.is_never:
        found.append("no rule is better than calling every image empty, and this is what the run does")
    return found


def _publish(
    run: RunDirectory,
    reader: ShardReader,
    histograms: PredictionHistograms,
    nested: NestedEstimate,
    masks: dict[str, str] | None,
    moved: SubmissionRule | None,
    *,
    device: torch.device,
) -> None:
    """Write the results, metrics.json last: the next start has nothing to write once it is there."""
    histograms.write(run.histograms)
    results = replace(
        compute_metrics(histograms, nested),
        submission_rule=moved,
        networks=run.recipe.best_checkpoints,
        submission_networks=run.dataset.num_folds * run.recipe.best_checkpoints,
        excluded=len(run.dataset.excluded),
        caveats=[
            *caveats(run, len(histograms), int(histograms.positive.sum())),
            *_rule_caveats(run, nested.final, moved),
            *metrics.other_removal(histograms.min_component, run.recipe.min_component),
        ],
        oof_csv_dice=None if masks is None else out_of_fold_masks.write_masks(run, reader, histograms, masks),
    )
    write_rule(run.thresholds, metrics.rule_for_new_images(results))
    if masks is not None and results.oof_csv_dice is not None:
        difference = abs(results.oof_csv_dice - float(nested.dice.mean()))
        if difference > (GPU_ROUNDING if device.type == "cuda" else 1e-9):
            log.warning(
                "the Dice of %s differs by %.2g from that of the histograms: the second prediction differs, as where"
                " the folds were trained on another device",
                run.masks,
                difference,
            )
        overlays.save(run.overlay, examples.draw_examples(histograms, nested, masks, reader))
    # TensorBoard is not imported by who writes nothing.
    from pneumo.training.fold_log import add_nested_dice

    histories = {fold: read_history(run.fold(fold)) for fold in range(run.dataset.num_folds)}
    add_nested_dice(run, results, {fold: int(epochs[-1]["step"]) for fold, epochs in histories.items() if epochs})
    metrics.write(run.metrics, results)
    log.info("wrote %s:\n%s", run.metrics, metrics.describe(results))
    always = _rule_caveats(run, nested.final, moved)
    for caveat in results.caveats:
        log.log(logging.INFO if caveat in always else logging.WARNING, "%s", caveat)
