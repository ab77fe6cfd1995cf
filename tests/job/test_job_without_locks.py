"""A file system without locks, such as a FUSE mount or an NFS without its lock service: a warning, and the work."""

import shutil
from pathlib import Path

import pytest
from job_commands import JOB, RECIPE, run, warm, weights

from pneumo.dataset import paths
from pneumo.synthetic.tree import SyntheticTree

NO_LOCKS = """
import errno, fcntl
def flock(descriptor, operation):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
"""
WARNING = "this file system has no locks; nothing stops a second process from working here"


@pytest.mark.slow
def test_each_command_warns_and_does_its_work(
    alone: Path, dataset: Path, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_LOCKS)
    built, directory, out, predicted = (tmp_path / name for name in ("data", "run", "submission.csv", "predicted"))
    # One fold is trained already.
    shutil.copytree(alone, directory, ignore=shutil.ignore_patterns("fold-1", "metrics.json", "*.csv"))
    shard = ["--dicom", synthetic.dicom, "--test-dicom", synthetic.test_dicom, "--masks", synthetic.masks]
    shard += ["--patients", synthetic.patients, "--out", built, "--num-folds", 2, "--workers", 1]
    commands = {
        "shard": shard,
        "train": ["--dataset", built, "--run", directory, *RECIPE],
        "ensemble": ["--runs", directory, "--dataset", built, "--out", out],
        "predict": ["--run", directory, "--dicom", synthetic.test_dicom, "--out", predicted],
    }
    for name, words in commands.items():
        launcher = ["env", f"PYTHONPATH={tmp_path}:{JOB.parent}", *warm()]
        code, output = run([JOB / f"{name}.py", *words], launcher=launcher)
        assert code == 0, output
        assert output.count(WARNING) == 1, output
        assert ".pneumo-tmp-" not in output
    assert weights(directory, 1) == weights(alone, 1)
    for shard_file in paths.shards(dataset).iterdir():
        assert (paths.shards(built) / shard_file.name).read_bytes() == shard_file.read_bytes()
    for submission in (directory / "submission.csv", out, predicted / "predictions.csv"):
        assert submission.read_bytes() == (alone / "submission.csv").read_bytes()
    assert not list(tmp_path.rglob(".lock"))
