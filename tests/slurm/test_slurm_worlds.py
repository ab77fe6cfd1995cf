"""Several nodes in one job: folds side by side, and one fold over two nodes."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from slurm_cluster import RECIPE, ROOT, Cluster, Submission, thaw, wait_for

pytestmark = pytest.mark.slurm


def test_two_folds_on_two_nodes_are_saved_and_requeued_together(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    one = submission().submit("--world", "--nodes", 2)
    assert list(one.ids) == ["world"]
    frozen = one.freeze()
    assert len(frozen) == 2
    assert cluster.job(one.ids["world"])["NumNodes"] == "2"
    cluster.run("scancel", "--signal=USR1", one.ids["world"])
    thaw(frozen)
    assert one.ended() == ["COMPLETED 0:0"]
    assert "rank 0: fold 0; rank 1: fold 1" in one.log()
    assert cluster.job(one.ids["world"])["Restarts"] == "1"
    assert "resumes from step-" in one.log()
    one.assert_same(reference_run)


def test_a_lost_node_takes_the_job_to_other_nodes(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    one = submission().submit("--world", "--nodes", 2)
    one.freeze()
    first = cluster.job(one.ids["world"])
    (lost,) = set(_hosts(cluster, first["NodeList"])) - {first["BatchHost"]}
    with cluster.without(lost):
        thaw(one.ranks())
        assert one.ended() == ["COMPLETED 0:0"]
    last = cluster.job(one.ids["world"])
    assert last["Restarts"] == "1"
    assert lost not in _hosts(cluster, last["NodeList"])
    one.assert_same(reference_run)


def _hosts(cluster: Cluster, node_list: str) -> list[str]:
    return cluster.run("scontrol", "show", "hostnames", node_list).split()


def test_a_fold_trains_on_when_the_rank_of_the_other_one_is_killed(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    """The killed rank is rank 0, which runs the stores; then only its fold is restarted."""
    one = submission().submit("--world", "--nodes", 2)
    frozen = one.freeze()
    first = [pid for pid in frozen if "SLURM_PROCID=0" in Path(f"/proc/{pid}/environ").read_text().split("\0")]
    assert len(first) == 1
    os.kill(first[0], signal.SIGKILL)
    thaw(frozen)
    assert one.ended() == ["COMPLETED 0:0"]
    before, after = one.log().split("slurm: train.py failed with exit code 137; restarting it (1 of 2)")
    assert "fold 1 is finished" in before
    assert "fold 0 resumes from step-" in after
    assert "fold 1 " not in after.split("metrics.json")[0].replace("rank 1: fold 1", "")
    assert cluster.job(one.ids["world"])["Restarts"] == "0"
    one.assert_same(reference_run)


def test_one_fold_on_two_nodes_survives_the_loss_of_a_rank(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    one = submission()
    settings = [
        f"PNEUMO_DATASET={one.dataset}",
        f"PNEUMO_RUN={one.run}",
        "PNEUMO_RECIPE=debug",
        f"PNEUMO_VENV={sys.prefix}",
    ]
    sbatch = ["sbatch", "--parsable", "--array=0", "--nodes=2", f"--output={one.logs}/%x-%A_%a.log"]
    one.logs.mkdir()
    one.ids["folds"] = cluster.run("env", *settings, *sbatch, ROOT / "slurm" / "folds.sh", *RECIPE).strip()
    frozen = one.freeze(0)
    assert len(frozen) == 2
    os.kill(frozen[1], signal.SIGKILL)
    thaw(frozen[:1])
    wait_for("restart", lambda: "restarting it (1 of 2)" in one.log(0), lambda: one.log(0))
    assert cluster.ended(one.fold(0)) == "COMPLETED 0:0"
    assert "ranks 0-1: fold 0" in one.log(0)
    assert "resumes from step-" in one.log(0)
    assert_close(one.run, reference_run, fold=0)
    one.assert_nothing_left()


def assert_close(run: Path, other: Path, *, fold: int) -> None:
    """Compare a fold's weights with those that one rank has trained."""
    name = f"fold-{fold}/model.safetensors"
    together, single = (safetensors.torch.load((directory / name).read_bytes()) for directory in (run, other))
    assert together.keys() == single.keys()
    for key, tensor in single.items():
        torch.testing.assert_close(together[key], tensor, rtol=2e-3, atol=2e-4, msg=key)


@pytest.mark.parametrize("killed", [0, 1])
def test_ranks_that_can_never_meet_end_soon_whatever_the_rank_timeout(
    killed: int, cluster: Cluster, tmp_path: Path
) -> None:
    """srun, with the flags of slurm/common.sh, does not end them; the rank timeout is 15 minutes."""
    log, rank = tmp_path / "log", ROOT / "tests" / "distributed" / "starting_rank.py"
    srun = ["srun", "--kill-on-bad-exit=0", "--wait=0", sys.executable, str(rank), "die", str(killed)]
    sbatch = ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", f"--output={log}"]
    job = cluster.run("env", f"PYTHONPATH={ROOT}", *sbatch, f"--wrap={shlex.join(srun)}").strip()
    assert cluster.ended(job).startswith("FAILED")
    text = log.read_text()
    found = re.search(rf"rank {1 - killed} of 2 did not find all others at n\d:\d+ within (\d+) s", text)
    assert found, text
    # 40 s, and twice what the start of this Python took.
    assert 40 <= int(found[1]) < 450
