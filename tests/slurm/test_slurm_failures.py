"""Ranks that are killed, folds that fail for good, jobs that are cancelled or submitted twice."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import Cluster, Submission, wait_for

pytestmark = pytest.mark.slurm


def kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_only_the_fold_that_crashed_is_restarted(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    one = submission().submit()
    kill(one.freeze(0))
    wait_for("restart", lambda: "restarting it (1 of 2)" in one.log(0))
    assert cluster.state(one.ids["ensemble"]) == "PENDING"
    assert one.ended() == ["COMPLETED 0:0"] * 3
    assert "train.py failed with exit code 137" in one.log(0)
    assert "resumes from step-" in one.log(0)
    assert "slurm:" not in one.log(1)
    assert [cluster.job(one.fold(k))["Restarts"] for k in (0, 1)] == ["0", "0"]
    one.assert_same(reference_run)


def test_a_fold_that_fails_for_good_cancels_the_ensembler(
    submission: Callable[[], Submission], reference_run: Path
) -> None:
    one = submission().submit("--retries", 0)
    kill(one.freeze(0))
    assert one.ended() == ["FAILED 137:0", "COMPLETED 0:0", "CANCELLED 0:0"]
    assert "started 1 time(s): giving up" in one.log(0)
    again = submission().submit()
    assert again.ended() == ["COMPLETED 0:0"] * 3
    assert "resumes from step-" in again.log(0)
    assert "epoch" not in again.log(1)
    again.assert_same(reference_run)


def test_a_second_submission_is_refused_and_a_cancelled_one_stays_cancelled(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    one = submission().submit()
    one.freeze(0, 1)
    second = submission().submit()
    assert second.ended() == ["FAILED 2:0", "FAILED 2:0", "CANCELLED 0:0"]
    for fold in (0, 1):
        assert f"another process works on fold {fold} of {one.run}" in second.log(fold)
        assert "not restarted" in second.log(fold)
    cluster.run("scancel", *one.ids.values())
    assert [state.split()[0] for state in one.ended()] == ["CANCELLED"] * 3
    wait_for("end of the ranks", lambda: not one.ranks())
    assert [cluster.job(one.fold(k))["Restarts"] for k in (0, 1)] == ["0", "0"]
    third = submission().submit()
    assert third.ended() == ["COMPLETED 0:0"] * 3
    assert "resumes from step-" in third.log(0)
    third.assert_same(reference_run)
