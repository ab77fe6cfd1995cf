"""Training of a blend: its runs one after another, then their mean, on any number of ranks.

    RUN/
        winner-resnet34/ ...       a run for each recipe, with all of its files (``run_directory``)
        submission.csv             of the mean of all runs' networks            (when the dataset has test images)
        submission.metrics.json    the mean's out-of-fold metrics
        logs/                      a log of each rank and start

A run that is finished is left alone, so that the same command resumes where it was. The directory has nothing else in
it, and its results replace earlier ones only as they were written (``recorded``).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed import heartbeat
from pneumo.distributed.device_memory import explain_out_of_memory
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.watchdog import Watchdog
from pneumo.distributed.world import World
from pneumo.inference.ensembler import Ensembler
from pneumo.inference.submit import write_submission
from pneumo.runtime import log_file
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError
from pneumo.runtime.outputs import check_earlier_json
from pneumo.runtime.recorded import check_recorded
from pneumo.training import run_directory, run_start
from pneumo.training.blended_rule import METRICS_FIELDS, choose_rule, metrics_path, publish_metrics
from pneumo.training.cross_validation import train
from pneumo.training.ensemble import LESS_MEMORY, build_mean, smallest_component
from pneumo.training.inputs import TrainingInputs
from pneumo.training.local_dataset import local_dataset, read_manifest
from pneumo.training.locking import exclusive_locks
from pneumo.training.run_directory import RECIPE_FILE, DatasetIdentity, RunDirectory
from pneumo.training.run_metrics import is_finished


def train_blend(
    directory: Path, members: Sequence[TrainingInputs], weights: Sequence[float], world: World, stop: StopFlag
) -> None:
    """Train the unfinished runs; when all folds were asked for, write the submission and the metrics of their mean.

    Args:
        directory: Of the blend.
        members: What to train, each in a directory of its own within it.
        weights: Weight of each run in the mean.
        world: The ranks.
        stop: Set when the process was asked to stop.

    Raises:
        StopRequested: When the ranks agreed to stop; the same command resumes.
        UserError: As ``train``, or when the directory is that of a single run, or has files that are not the blend's.
    """
    world.on_leader(lambda: _make(directory, members))
    log_file.start(directory, "train", f"rank-{world.rank}")
    for inputs in members:
        if world.on_leader(lambda inputs=inputs: _is_done(inputs)):  # type: ignore[misc]
            if world.is_leader:
                log.info("%s is finished", inputs.run)
            continue
        if world.is_leader:
            log.info("%s: the recipe %s", inputs.run, inputs.recipe.name)
        train(inputs, world, stop)
    if not members[0].folds:
        _write_mean(directory, members, weights, world, stop)


def _make(directory: Path, members: Sequence[TrainingInputs]) -> None:
    """Make the directory; refuse one with files that are not the blend's, or with results that were changed."""
    if (directory / RECIPE_FILE).exists():
        raise UserError(
            f"--run {directory} is a run of a single recipe", "the directory of a blend", "give another --run"
        )
    directory.mkdir(parents=True, exist_ok=True)
    # A result that was changed while the images were predicted stays, and the new one has a number.
    written = [re.escape(inputs.run.name) for inputs in members]
    written += [r"\..*", log_file.DIRECTORY, r"submission(-\d+)?(\.metrics\.json|\.csv)"]
    foreign = [entry for entry in sorted(directory.iterdir()) if not re.fullmatch("|".join(written), entry.name)]
    if foreign:
        raise UserError(
            f"{foreign[0]} is not of this blend",
            "a new or empty directory, or that of the same blend",
            "give another --run, or move the file",
        )
    if not members[0].folds:
        check_recorded("--run", _submission(directory))
        check_earlier_json("--run", metrics_path(_submission(directory)), METRICS_FIELDS)


def _submission(directory: Path) -> Path:
    return directory / "submission.csv"


def _is_done(inputs: TrainingInputs) -> bool:
    """Return whether a run has all its results; refuse one of another recipe or dataset."""
    if not (inputs.run / RECIPE_FILE).is_file():
        return False
    # A dataset in an object store need not be copied to know that nothing is left to do.
    manifest = read_manifest(inputs.dataset, inputs.options.cache.directory, inputs.run)
    run = run_start.find(inputs.run, inputs.recipe, DatasetIdentity.of(manifest, {}))
    if run is None or run.unfinished_folds or not is_finished(run, manifest):
        return False
    return run.report.is_file() and (run.submission.is_file() or not manifest.test)


def _write_mean(
    directory: Path, members: Sequence[TrainingInputs], weights: Sequence[float], world: World, stop: StopFlag
) -> None:
    first = members[0]
    out = _submission(directory)
    with (
        Watchdog(world.meeting, world.rank_timeout_s),
        stop.raising("the mean of the runs"),
        explain_out_of_memory(*LESS_MEMORY),
    ):
        dataset = local_dataset(first.dataset, first.options.cache.directory, world, first.run)
        runs: list[RunDirectory] = world.on_leader(lambda: [run_directory.load(each.run) for each in members])
        locks = [(directory / run_directory.LOCK_FILE, str(directory))] if world.is_leader else []
        with exclusive_locks(locks, world):
            reader = ShardReader(dataset, world.on_leader(lambda: SampleTable.read(dataset)))
            mean = build_mean(runs, weights, reader=reader, world=world, workers=first.options.workers)
            smallest = smallest_component(runs)
            chosen = choose_rule(runs, mean, "auto", smallest)
            if len(reader.table.select("test")):
                ensembler = Ensembler(mean, chosen.rule, min_component=smallest)
                out = write_submission(
                    ensembler, out, expected=first.expected, skip_damaged=first.skip_damaged, recorded=True
                )
            elif world.is_leader:
                log.warning("%s has no test images: no submission is written", reader.dataset)
            heartbeat.touch("writing the metrics of the mean")
            world.on_leader(lambda: publish_metrics(out, chosen.metrics))
