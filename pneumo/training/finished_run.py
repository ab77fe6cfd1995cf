"""Runs that can predict, told without importing torch."""

from pathlib import Path

from pneumo.inference.decision_rule import read_rule
from pneumo.runtime.errors import UserError, counted
from pneumo.training import run_directory
from pneumo.training.run_directory import RunDirectory


def open_finished(path: Path) -> RunDirectory:
    """Load a run that can predict.

    Raises:
        UserError: When it is no run, a fold is not trained, or its decision rule cannot be read.
    """
    run = run_directory.load(path)
    require_finished_folds(run)
    if run.thresholds.is_file():
        read_rule(run.thresholds)
    return run


def require_finished_folds(run: RunDirectory) -> None:
    """Refuse a run whose folds are not all trained.

    Raises:
        UserError: Naming the folds.
    """
    if run.unfinished_folds:
        raise UserError(
            f"{run.path} has no finished fold {', '.join(map(str, run.unfinished_folds))}",
            f"all {counted(run.dataset.num_folds, 'fold')}",
            "train them with the same job/train.py command, or copy them from where they were trained",
        )
