"""Jobs that Slurm stops in the middle of an epoch: they save, are requeued, and end with the same bytes.

A rank is frozen (SIGSTOP) until the interruption has happened, so that nothing depends on its speed.
"""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import ASK_S, Cluster, Submission, thaw, wait_for

pytestmark = pytest.mark.slurm


def test_the_time_limit_and_scontrol_requeue(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    one = submission().submit("--time", 20, "--save-seconds", 600)
    one.freeze(0, 1)
    # Slurm sends SIGCONT with each of its signals, which resumes the ranks.
    cluster.run("scontrol", "requeue", one.fold(1))
    # The limit comes near only now, however long fold 0 took to its first checkpoint, and is far again for the restart.
    cluster.run("scontrol", "update", f"JobId={one.fold(0)}", "TimeLimit=10")
    wait_for("requeue of fold 0", lambda: int(cluster.job(one.fold(0))["Restarts"]), lambda: one.log(0), pause_s=ASK_S)
    cluster.run("scontrol", "update", f"JobId={one.fold(0)}", "TimeLimit=20")
    assert one.ended() == ["COMPLETED 0:0"] * 3
    for fold in (0, 1):
        assert int(cluster.job(one.fold(fold))["Restarts"]) >= 1
        assert "resumes from step-" in one.log(fold)
    assert "SIGUSR1" in one.log(0)
    assert f"train.py was stopped; job {one.fold(0)} is requeued" in one.log(0)
    # With scontrol requeue, Slurm ends the script itself: only the rank logs that it stopped.
    assert "stopped on request, state saved" in one.log(1)
    one.assert_same(reference_run)


def test_a_job_of_higher_priority_and_a_lost_node(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    one = submission().submit()
    one.freeze(0, 1)
    lost, preempted = (cluster.job(one.fold(k))["BatchHost"] for k in (0, 1))
    assert lost != preempted
    urgent = ["--partition=urgent", "--exclusive", f"--nodelist={preempted}", "--output=/dev/null", "--wrap=sleep 5"]
    with cluster.without(lost):
        first = cluster.run("sbatch", "--parsable", *urgent).strip()
        assert cluster.ended(first) == "COMPLETED 0:0"
        assert one.ended() == ["COMPLETED 0:0"] * 3
    for fold in (0, 1):
        assert cluster.job(one.fold(fold))["Restarts"] == "1"
        assert "resumes from step-" in one.log(fold)
    assert cluster.job(one.fold(0))["BatchHost"] != lost
    assert "DUE TO PREEMPTION" in one.log(1)
    assert "stopped on request, state saved" in one.log(1)
    one.assert_same(reference_run)


def test_a_signal_before_the_rank_can_handle_it(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    """SIGUSR1 while Python is still starting kills the rank; the job is requeued as if it had saved."""
    one = submission().submit()
    wait_for("rank of fold 0", lambda: one.ranks(0))
    frozen = one.ranks(0)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    cluster.run("scancel", "--signal=USR1", one.fold(0))
    thaw(frozen)
    assert one.ended() == ["COMPLETED 0:0"] * 3
    assert [cluster.job(one.fold(k))["Restarts"] for k in (0, 1)] == ["1", "0"]
    # On a busy machine the rank may have been frozen when it could handle the signal already.
    assert re.search(rf"train\.py was stopped( before it could save)?; job {one.fold(0)} is requeued", one.log(0))
    one.assert_same(reference_run)
