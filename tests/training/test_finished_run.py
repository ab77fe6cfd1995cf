"""A run that cannot predict is refused, and at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from pneumo.inference.decision_rule import DecisionRule, write_rule
from pneumo.runtime.errors import UserError
from pneumo.training import run_start
from pneumo.training.finished_run import open_finished
from pneumo.training.recipes import debug
from pneumo.training.run_directory import DatasetIdentity, RunDirectory

DATASET = DatasetIdentity(digest="a" * 64, folds_digest="b" * 64, num_folds=2, grouped_by="dicom", patients=9)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run of which one fold is finished."""
    run = run_start.create(tmp_path / "run", debug(), DATASET)
    for fold in range(2):
        run.fold(fold).path.mkdir()
    run.fold(0).summary.write_text("{}")
    return run


def test_a_run_without_a_fold_is_refused_and_a_finished_one_is_not(run: RunDirectory) -> None:
    with pytest.raises(UserError, match="run has no finished fold 1; expected all 2 folds; train them"):
        open_finished(run.path)
    run.fold(1).summary.write_text("{}")
    assert open_finished(run.path) == run


def test_a_run_is_refused_whose_decision_rule_cannot_be_read(run: RunDirectory) -> None:
    run.fold(1).summary.write_text("{}")
    write_rule(run.thresholds, DecisionRule(128, 0.0, 64))
    assert open_finished(run.path) == run
    run.thresholds.write_text("{}")
    with pytest.raises(UserError, match=r"thresholds\.json"):
        open_finished(run.path)


def test_no_run_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pneumo.runtime.errors import UserError\n"
        "from pneumo.training.finished_run import open_finished\n"
        "try:\n"
        "    open_finished(Path(sys.argv[1]))\n"
        "except UserError as error:\n"
        "    print('torch' in sys.modules, error.found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("False ")
    assert "recipe.json does not exist" in done.stdout
