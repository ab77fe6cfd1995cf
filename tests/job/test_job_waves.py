"""Folds that are trained by groups formed anew: the results of one rank, also after a kill or a stop between waves."""

import signal
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from job_commands import FIRST, JOB, RECIPE, interrupted, launch, run, start, train, weights
from waiting import LONG_S, wait_until

from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.synthetic.tree import SyntheticTree

pytestmark = pytest.mark.slow
SMALL_STEPS = ["--learning-rate", 1e-5]
"""At a low rate, rounding does not grow much."""
TWO_WAVES = "; rank 0: fold 0; rank 1: fold 1; then ranks 0-1: fold 2\n"


@pytest.fixture(scope="module")
def three_folds(synthetic: SyntheticTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dataset") / "three"
    inputs = BuildInputs(dicom=synthetic.dicom, test_dicom=synthetic.test_dicom, masks=synthetic.masks)
    build(inputs, out, BuildOptions(num_folds=3, workers=1))
    return out


@pytest.fixture(scope="module")
def one_rank(three_folds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "one_rank"
    train(three_folds, directory, *SMALL_STEPS)
    return directory


def words(dataset: Path, directory: Path) -> list[object]:
    return [JOB / "train.py", "--dataset", dataset, "--run", directory, *RECIPE, *SMALL_STEPS]


def check(directory: Path, one_rank: Path, *, alone: tuple[int, ...]) -> None:
    """Compare the weights of folds that one rank has trained, and of those that two have, with those of one rank."""
    for fold in range(3):
        if fold in alone:
            assert weights(directory, fold) == weights(one_rank, fold)
        found, known = (safetensors.torch.load(weights(path, fold)) for path in (directory, one_rank))
        torch.testing.assert_close(found, known, rtol=2e-3, atol=2e-4)
    assert (directory / "submission.csv").is_file()


def test_three_folds_on_two_ranks_are_those_of_one(three_folds: Path, one_rank: Path, tmp_path: Path) -> None:
    output = train(three_folds, tmp_path / "run", *SMALL_STEPS, launcher=launch(2))
    assert TWO_WAVES in output
    assert (
        "3 folds with 2 micro-batches in a step take 1.5 times one fold on one rank, at an efficiency of 100%" in output
    )
    check(tmp_path / "run", one_rank, alone=(0, 1))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two ranks of a fold need a GPU each")
def test_two_gpus_are_connected_for_the_second_wave(three_folds: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, str(JOB / "launch.py"), "--processes", "2"]
    output = train(three_folds, tmp_path / "run", *SMALL_STEPS, launcher=launcher)
    assert TWO_WAVES in output
    assert "on cpu in" not in output
    assert (tmp_path / "run" / "submission.csv").is_file()


def test_a_rank_that_is_killed_in_the_second_wave_is_resumed(three_folds: Path, one_rank: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    killed = interrupted(tmp_path / "at", FIRST.format(2), signal.SIGKILL, rank="0", launcher=launch(2))
    code, output = run(words(three_folds, directory), launcher=killed)
    assert code == 1, output
    assert "[rank 1] ERROR rank 0 no longer responds" in output
    output = train(three_folds, directory, *SMALL_STEPS, launcher=launch(2))
    assert "; ranks 0-1: fold 2\n" in output
    assert "fold 2 resumes from step-" in output
    check(directory, one_rank, alone=(0, 1))


def test_a_rank_that_is_killed_in_the_first_wave_costs_the_other_nothing(
    three_folds: Path, one_rank: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    killed = interrupted(tmp_path / "at", FIRST.format(1), signal.SIGKILL, rank="1", launcher=launch(2))
    code, output = run(words(three_folds, directory), launcher=killed)
    assert code == 1, output
    assert "fold 0 is finished" in output
    assert "[rank 0] ERROR rank 1 no longer responds" in output
    # One rank has the plan of one rank, without the fold that is finished.
    output = train(three_folds, directory, *SMALL_STEPS)
    assert "; rank 0: fold 1, 2\n" in output
    assert "fold 1 resumes from step-" in output
    check(directory, one_rank, alone=(0, 1, 2))


def test_ranks_that_wait_between_waves_are_stopped(three_folds: Path, one_rank: Path, tmp_path: Path) -> None:
    directory, at = tmp_path / "run", tmp_path / "at"
    # Rank 1 waits in its fold for the signal, when rank 0 has trained its own.
    held = interrupted(at, FIRST.format(1), "signal", rank="1", launcher=launch(2))
    process = start(words(three_folds, directory), launcher=held)
    wait_until((at / "reached").exists, process)
    wait_until((directory / "fold-0" / "fold.json").exists, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 3, output
    assert not (directory / "fold-1" / "fold.json").exists()
    assert not (directory / "fold-2" / "checkpoints").exists()
    output = train(three_folds, directory, *SMALL_STEPS, launcher=launch(2))
    assert "; rank 1: fold 1; then ranks 0-1: fold 2\n" in output
    check(directory, one_rank, alone=(0, 1))
