"""Average the folds of one or more runs over the test images of a dataset, and write a submission.

    python job/ensemble.py --runs runs/A --dataset DATASET --out submission.csv

    accelerate launch --multi_gpu --num_processes 4 job/ensemble.py --runs runs/A runs/B --dataset DATASET --out s.csv

With several runs of the same folds, the metrics of their mean are written beside it: s.metrics.json.
It also finishes a run whose folds were trained one by one: decision rule, out-of-fold metrics, masks and report.html.
Exit codes: 0 done, 2 wrong input, 3 stopped on request, or folds are still missing after --wait.
"""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Annotated

from annotated_types import Interval, MinLen

from pneumo.distributed import heartbeat
from pneumo.distributed.heartbeat import RANK_TIMEOUT_S
from pneumo.inference.config import LoaderOverride, PrecisionOverride, RuleSource
from pneumo.masks import annotations
from pneumo.runtime import cli, log_file
from pneumo.runtime.config import config_dataclass, invalid_value
from pneumo.runtime.errors import StartAgain, UserError, counted
from pneumo.runtime.files import check_target
from pneumo.runtime.locks import is_left_behind
from pneumo.runtime.outputs import check_apart, check_earlier_json
from pneumo.runtime.ranges import ExpectedWorld, RankTimeout, ReferenceArea, WaitTime, WorkersOrAuto
from pneumo.runtime.recorded import check_recorded, lock_path
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags
from pneumo.training import run_directory
from pneumo.training.run_directory import RunDirectory

RENAMED_FLAGS = {"--shares": "--weights"}
"""Flags of version 0.1, and what replaced them; CHANGELOG.md has the same table."""


@config_dataclass
class Arguments:
    """Flags of job/ensemble.py."""

    runs: Annotated[tuple[Path, ...], MinLen(1)]
    """Run directories whose folds are all trained."""
    dataset: Path
    """Dataset whose test images are predicted; with --cache-dir also its URL in an object store."""
    out: Path
    """Submission to write, a .csv file. An existing one is replaced only when it is the run's own RUN/submission.csv,
    or when this command wrote it and nobody has changed it since."""
    expected: Path | None = None
    """CSV with the ids, and their order, that the submission must have (Kaggle's sample submission)."""
    weights: tuple[Annotated[float, Interval(ge=1e-6, le=1e6)], ...] = ()
    """Weight of each run in the mean; none given = equal."""
    rule: RuleSource = "auto"
    """Decision rule of several runs: out-of-fold = searched on the mean of each fold's networks, which takes a
    prediction of all labeled images, and gives the blend's metrics; mean = the mean of the runs' rules, without
    metrics; auto = out-of-fold where the runs have the folds of --dataset, else mean. For one run or several, unmoved =
    as it was chosen on labeled images, and not moved on test images to where it suits the mean of the folds."""
    min_component: ReferenceArea = 0.0
    """Remove connected components of a mask smaller than this, in pixels of a 1024x1024 image, if it is more than
    the largest of the runs' recipes; 0 = none."""
    skip_damaged: bool = False
    """Give damaged test images an empty mask, with a warning; without the flag the first one is an error."""
    loader: LoaderOverride = "recipe"
    """Loader of the images; recipe = each run's."""
    precision: PrecisionOverride = "recipe"
    """Precision of the networks' arithmetic; recipe = each run's, auto = bf16, fp16 or fp32, as the device
    has them."""
    workers: WorkersOrAuto = 0
    """Threads that decode, in each process; 0 = the cores that each process has."""
    cache_dir: Path | None = None
    """Directory on a disk of each machine, to which the dataset is copied once, as job/train.py does."""
    wait: WaitTime = 0.0
    """Seconds to wait for folds that are still being trained; exit with 3 when they take longer: start it again."""
    rank_timeout: RankTimeout = RANK_TIMEOUT_S
    """Seconds without progress after which a rank is lost; its last activity is logged, and the command ends."""
    expect_world: ExpectedWorld = 0
    """Processes that the launcher was asked for; refuse to run with another number. 0 = do not check."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)

    def __post_init__(self) -> None:
        """Check the fields that depend on each other.

        Raises:
            UserError: Naming the flag, the value found and the values accepted.
        """
        if len({os.path.realpath(path) for path in self.runs}) < len(self.runs):
            raise invalid_value("runs", self.runs, "different runs; --weights weighs them")
        if self.weights and len(self.weights) != len(self.runs):
            raise invalid_value("weights", self.weights, f"{counted(len(self.runs), 'value')}, one for each run")
        if self.out.suffix != ".csv":
            # The metrics of a blend have the name without the suffix: s.csv and s.txt would have one file of metrics.
            raise invalid_value("out", self.out, "the name of a file that ends with .csv")


def main() -> None:
    """Parse the command line, check the paths, and ensemble."""
    arguments = cli.parse(Arguments, sys.argv[1:], prog="job/ensemble.py", description=__doc__, renamed=RENAMED_FLAGS)
    check_target(arguments.out)
    check_apart("--out", arguments.out, {"--dataset": arguments.dataset, "--expected": arguments.expected})
    ensemble(arguments)


def ensemble(arguments: Arguments) -> None:
    """Join the other ranks, predict, and write the submission."""
    with cli.slow_imports():
        from pneumo.dataset.shard_reader import ShardReader
        from pneumo.dataset.table import SampleTable
        from pneumo.distributed.device_memory import explain_out_of_memory
        from pneumo.distributed.startup import init, shutdown
        from pneumo.distributed.stopping import StopFlag
        from pneumo.distributed.watchdog import Watchdog
        from pneumo.inference.ensembler import Ensembler
        from pneumo.inference.submit import write_submission
        from pneumo.training.blended_rule import choose_rule, publish_metrics
        from pneumo.training.ensemble import LESS_MEMORY, build_mean, smallest_component
        from pneumo.training.local_dataset import local_dataset
        from pneumo.training.locking import exclusive_locks
        from pneumo.training.run_metrics import finish_run
        from pneumo.training.run_report import write_last

    stop = StopFlag()
    world = init(expect_world=arguments.expect_world or None, rank_timeout_s=arguments.rank_timeout, stop=stop)
    workers = arguments.workers or world.cores
    with (
        Watchdog(world.meeting, world.rank_timeout_s),
        stop.raising("the predictions and the submission"),
        explain_out_of_memory(*LESS_MEMORY),
        ExitStack() as held,
    ):
        runs = world.on_leader(lambda: open_runs(arguments))
        dataset = local_dataset(arguments.dataset, arguments.cache_dir, world)
        is_own = world.on_leader(lambda: run_directory.is_own_submission(arguments.out, runs))
        written = world.on_leader(lambda: written_runs(arguments.out, dataset, runs))
        locks = [(run.lock, str(run.path)) for run in written]
        if not is_own:
            locks.append((lock_path(arguments.out), f"--out {arguments.out}"))
        held.enter_context(exclusive_locks(locks if world.is_leader else [], world))
        for run in written[:1]:
            log_file.start(run.path, "ensemble", f"rank-{world.rank}")
        table = world.on_leader(lambda: SampleTable.read(dataset))
        reader = ShardReader(dataset, table)
        for run in written:
            finish_run(run, world, reader, workers=workers)
        mean = build_mean(
            runs,
            arguments.weights,
            reader=reader,
            world=world,
            workers=workers,
            loader=arguments.loader,
            precision=arguments.precision,
        )
        smallest = smallest_component(runs, arguments.min_component)
        chosen = choose_rule(runs, mean, arguments.rule, smallest)
        ensembler = Ensembler(mean, chosen.rule, min_component=smallest)
        submission = write_submission(
            ensembler,
            arguments.out,
            expected=arguments.expected,
            skip_damaged=arguments.skip_damaged,
            recorded=not is_own,
        )
        if not is_own:
            world.on_leader(lambda: publish_metrics(submission, chosen.metrics))
        heartbeat.touch("writing the report")
        for run in written:
            world.on_leader(partial(write_last, run, reader))
    shutdown()


def open_runs(arguments: Arguments) -> list[RunDirectory]:
    """Load the runs, check what else is read and written, and wait for folds that are still being trained."""
    from pneumo.training.blended_rule import METRICS_FIELDS, metrics_path

    if arguments.expected is not None:
        annotations.read_ids(arguments.expected)
    runs = [run_directory.load(path) for path in arguments.runs]
    run_directory.check_output(arguments.out, runs)
    if not run_directory.is_own_submission(arguments.out, runs):
        check_recorded("--out", arguments.out)
    elif arguments.rule == "unmoved":
        # Its report, and every prediction by the run, are by the run's own rule.
        raise UserError(
            f"--rule unmoved --out {arguments.out} is the submission of the run", "another file", "give another --out"
        )
    if len(runs) > 1:
        metrics = metrics_path(arguments.out)
        check_target(metrics)
        run_directory.check_output(metrics, runs)
        check_earlier_json("--out", metrics, METRICS_FIELDS)
    wait_for_folds(runs, arguments.wait)
    return runs


def written_runs(out: Path, dataset: Path, runs: Sequence[RunDirectory]) -> list[RunDirectory]:
    """Return the runs that are written to: any other may be on a read-only mount, or used by others meanwhile.

    One whose lock a killed process left is among them, so that the lock is removed, and so is one that was finished by
    a process which was stopped before it wrote the report. The report is no reason to refuse a read-only run.
    """
    from pneumo.dataset.manifest import Manifest
    from pneumo.training.run_metrics import is_finished
    from pneumo.training.run_report import is_report_due

    if run_directory.is_own_submission(out, runs):
        return list(runs)
    manifest = Manifest.read(dataset)
    return [
        run
        for run in runs
        if not is_finished(run, manifest)
        or is_left_behind(run.lock)
        or (is_report_due(run) and os.access(run.path, os.W_OK))
    ]


def wait_for_folds(runs: Sequence[RunDirectory], seconds: float) -> None:
    """Wait until all folds of the runs are trained, at most ``seconds``.

    Raises:
        StartAgain: When ``seconds`` is above 0 and has passed.
    """
    deadline = time.monotonic() + seconds
    while left := [f"fold {k} of {run.path}" for run in runs for k in run.unfinished_folds]:
        if time.monotonic() >= deadline:
            if seconds > 0:
                raise StartAgain(f"{', '.join(left)} not trained yet after {seconds:g} s")
            # finish_run raises the error that names the missing folds.
            return
        heartbeat.touch("waiting for folds that are still being trained")
        time.sleep(min(5.0, seconds / 10))


if __name__ == "__main__":
    cli.run(main, resumes=True)
