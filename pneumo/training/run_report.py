"""RUN/report.html of a run at any time: what is there is read without a lock, and what is not there yet is said."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference import metrics
from pneumo.inference.errors_by_group import notes_on_others
from pneumo.inference.evaluation import compute_metrics
from pneumo.inference.histograms import PredictionHistograms, concatenate
from pneumo.inference.metrics import Metrics
from pneumo.inference.nested import NestedEstimate
from pneumo.inference.rule_choice import apply_recorded, choose
from pneumo.masks import submission
from pneumo.reporting.html import page as html
from pneumo.reporting.model_card import GROUPED_BY
from pneumo.reporting.report import page
from pneumo.reporting.report.error_section import describe_others
from pneumo.reporting.report.facts import UNFINISHED, Evidence, FoldProgress, RunFacts
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted, first_line, list_some
from pneumo.runtime.files import sha256
from pneumo.runtime.versions import installed_versions
from pneumo.training import checkpoint, checkpoint_directory, run_directory
from pneumo.training.fold_results import read_fold_histograms, read_history
from pneumo.training.recipe_words import describe_recipe
from pneumo.training.run_directory import RunDirectory
from pneumo.training.run_metrics import caveats


def write_report(
    run: RunDirectory,
    reader: ShardReader | None,
    out: Path | None = None,
    *,
    drains: Mapping[str, bool] = MappingProxyType({}),
) -> Path:
    """Write the report of a run, finished or not; return its path.

    Args:
        run: The run. Nothing but the report is written into it, and nothing is locked.
        reader: The dataset that it was trained on, for pictures and groups of images; None = without them.
        out: The file; None = RUN/report.html. An earlier one is replaced.
        drains: Whether images show a chest drain, by id, as far as somebody has noted it.

    Raises:
        UserError: When a file of the run is damaged.
    """
    path = out or run.report
    facts = gather(run, reader)
    if drains and facts.evidence and (others := notes_on_others(facts.evidence.histograms, drains)):
        log.warning("%s; they are not counted: give the ids of labeled images of this run", describe_others(others))
    html.write(path, page.build(replace(facts, drains=drains)))
    return path


def is_report_due(run: RunDirectory) -> bool:
    """Return whether a run has no report, or one that was made of other metrics than those that are there."""
    return html.read_source(run.report) != _metrics_sha256(run)


def write_last(run: RunDirectory, reader: ShardReader) -> None:
    """Write the report of a run whose results are in place, which a failure must not cost: it is logged.

    Without the dataset that the run was trained on (new test images) there are no pictures, and a report that is there
    already, which may have them, stays.
    """
    again = f"job/report.py --run {run.path} --dataset"
    try:
        is_own = Manifest.read(reader.dataset).samples_digest == run.dataset.digest
        if not is_own and not is_report_due(run):
            log.info("%s stays as it is: %s is not the dataset that the run was trained on", run.report, reader.dataset)
            return
        html.check_earlier("--run", run.report, page.GENERATOR)
        path = write_report(run, reader if is_own else None)
        more = "" if is_own else f"; {again} DATASET, with the one that it was trained on, adds the pictures"
        log.info("wrote %s: open it in a browser%s", path, more)
    except Exception as error:
        # Whatever it is, such as a full disk.
        reason = error.found if isinstance(error, UserError) else first_line(error)
        log.warning("%s is not written (%s); %s %s writes it", run.report, reason, again, reader.dataset)


def _metrics_sha256(run: RunDirectory) -> str:
    """Return the SHA-256 of metrics.json, which tells a report of these results from an earlier one."""
    return sha256(run.metrics) if run.metrics.is_file() and not run.unfinished_folds else UNFINISHED


def gather(run: RunDirectory, reader: ShardReader | None) -> RunFacts:
    """Read what is known of a run.

    Raises:
        UserError: When a file of the run is damaged.
    """
    # First: when the metrics change meanwhile, the report is of others, and is written again.
    metrics_sha256 = _metrics_sha256(run)
    folds = [_progress(run, fold) for fold in range(run.dataset.num_folds)]
    finished = [one.fold for one in folds if one.state == "finished"]
    is_finished = metrics_sha256 != UNFINISHED
    return RunFacts(
        name=run.path.resolve().name,
        recipe_name=run.recipe.name,
        recipe=describe_recipe(run.recipe),
        folds=folds,
        metrics_sha256=metrics_sha256,
        evidence=_evidence(run, finished, is_finished=is_finished) if finished else None,
        reader=reader,
        dataset_digest=run.dataset.digest,
        folds_digest=run.dataset.folds_digest,
        patients=GROUPED_BY[run.dataset.grouped_by],
        excluded=run.dataset.excluded,
        trained_with=run_directory.starting_version(run),
        written_with=installed_versions(),
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    )


def _progress(run: RunDirectory, fold: int) -> FoldProgress:
    directory = run.fold(fold)
    checkpoints = [] if directory.is_finished else checkpoint_directory.published(directory.checkpoints)
    for path in reversed(checkpoints):
        try:
            history = checkpoint.read_state(path).history
        except UserError:
            # Removed meanwhile by the process that trains: there is a newer one, or the fold was finished.
            continue
        return FoldProgress(fold=fold, state="in training", history=history)
    # Asked again: a fold that was finished meanwhile has no checkpoints any more.
    if directory.is_finished:
        return FoldProgress(fold=fold, state="finished", history=read_history(directory))
    return FoldProgress(fold=fold, state="not started", history=[])


def _evidence(run: RunDirectory, finished: Sequence[int], *, is_finished: bool) -> Evidence:
    histograms = concatenate([read_fold_histograms(run.fold(fold), fold) for fold in finished])
    if is_finished:
        found = metrics.read(run.metrics)
        nested = apply_recorded(histograms, found, run.metrics)
    else:
        nested = choose(histograms)
        found = _metrics_so_far(run, histograms, nested)
    masks = submission.read(run.masks) if is_finished and run.masks.is_file() else {}
    if masks and (missing := [each for each in histograms.image_id.tolist() if each not in masks]):
        raise UserError(
            f"{run.masks} has no row of {list_some(missing)}",
            f"a mask for each of {counted(len(histograms), 'labeled image')}",
            f"delete it; job/ensemble.py --runs {run.path} --dataset DATASET --out {run.submission} writes it again",
        )
    return Evidence(histograms=histograms, nested=nested, metrics=found, masks=masks)


def _metrics_so_far(run: RunDirectory, histograms: PredictionHistograms, nested: NestedEstimate) -> Metrics:
    return replace(
        compute_metrics(histograms, nested),
        networks=run.recipe.best_checkpoints,
        submission_networks=run.dataset.num_folds * run.recipe.best_checkpoints,
        excluded=len(run.dataset.excluded),
        caveats=[
            *caveats(run, len(histograms), int(histograms.positive.sum())),
            *metrics.other_removal(histograms.min_component, run.recipe.min_component),
        ],
    )
