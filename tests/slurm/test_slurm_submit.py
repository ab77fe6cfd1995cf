"""From DICOMs to a submission through a real queue, without interruptions."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import RECIPE, ROOT, Cluster, Submission

from pneumo.synthetic.tree import SyntheticTree

pytestmark = pytest.mark.slurm


def test_shards_folds_and_ensembler_give_the_submission_of_one_machine(
    submission: Callable[[], Submission], synthetic: SyntheticTree, dataset: Path, reference_run: Path, tmp_path: Path
) -> None:
    one = submission()
    one.dataset = tmp_path / "dataset"
    inputs = ["--dicom", synthetic.dicom, "--test-dicom", synthetic.test_dicom, "--masks", synthetic.masks]
    one.submit(*inputs, "--patients", synthetic.patients, "--shard-tasks", 2, "--folds-at-once", 1)
    assert list(one.ids) == ["shard", "folds", "ensemble"]
    assert one.cluster.job(one.ids["folds"])["ArrayTaskThrottle"] == "1"
    assert one.ended() == ["COMPLETED 0:0"] * 5
    for path in dataset.rglob("*"):
        if path.is_file():
            assert (one.dataset / path.relative_to(dataset)).read_bytes() == path.read_bytes(), path
    one.assert_same(reference_run)


def test_sbatch_of_a_script_alone_with_its_own_defaults(
    cluster: Cluster, submission: Callable[[], Submission], reference_run: Path
) -> None:
    """The script requests five elements; with a dataset of two folds three are refused, and not restarted."""
    one = submission()
    one.logs.mkdir()
    settings = [f"PNEUMO_DATASET={one.dataset}", f"PNEUMO_RUN={one.run}", "PNEUMO_RECIPE=debug"]
    settings.append(f"PNEUMO_VENV={sys.prefix}")
    sbatch = ["env", *settings, "sbatch", "--parsable", f"--output={one.logs}/%x-%A_%a.log"]
    one.ids["folds"] = cluster.run(*sbatch, ROOT / "slurm" / "folds.sh", *RECIPE).strip()
    wrong = [one.fold(k) for k in (2, 3, 4)]
    assert one.ended() == ["COMPLETED 0:0"] * 2
    assert [cluster.ended(job) for job in wrong] == ["FAILED 2:0"] * 3
    assert [cluster.job(job)["Restarts"] for job in wrong] == ["0"] * 3
    assert "--folds 4; expected different numbers from 0 to 1" in one.log(4)
    assert "not restarted" in one.log(4)
    assert "restarting it" not in one.log(4)
    one.ids["ensemble"] = cluster.run(*sbatch, ROOT / "slurm" / "ensemble.sh").strip()
    assert cluster.ended(one.ids["ensemble"]) == "COMPLETED 0:0"
    one.assert_same(reference_run)


def test_a_gpu_without_a_rank_and_a_job_elsewhere_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    """More GPUs than ranks, or a directory that is not the project's: both end at once and log what to do."""
    sbatch = ["sbatch", "--parsable", "--array=0", f"--output={tmp_path}/%A.log"]
    idle = cluster.run(*sbatch, "--gpus-per-node=2", ROOT / "slurm" / "folds.sh").strip()
    elsewhere = cluster.run("env", f"--chdir={tmp_path}", *sbatch, ROOT / "slurm" / "folds.sh").strip()
    assert cluster.ended(f"{idle}_0") == "FAILED 2:0"
    assert "--gpus-per-node=2 --ntasks-per-node=2" in (tmp_path / f"{idle}.log").read_text()
    assert cluster.ended(f"{elsewhere}_0") == "FAILED 2:0"
    assert "expected the directory of pneumo" in (tmp_path / f"{elsewhere}.log").read_text()
