"""Files of others, given to the commands."""

import os
import shutil
from pathlib import Path

import pytest
from hostile import change_record, change_table, saved, sign_checkpoint
from security_chain import JOB, Chain, Commands

from pneumo.training import checkpoint


def last_line(output: str) -> str:
    assert "Traceback" not in output, output
    return output.splitlines()[-1]


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """Commands whose output the tests of the chain do not read."""
    folder = tmp_path / "commands"
    folder.mkdir()
    return Commands(folder)


@pytest.fixture
def foreign_run(chain: Chain, tmp_path: Path) -> Path:
    """A copy of a finished run, to be changed as an attacker would."""
    return shutil.copytree(chain.out / "run", tmp_path / "run")


def test_predict_refuses_a_run_whose_weights_are_code(
    commands: Commands, chain: Chain, foreign_run: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    change_record(foreign_run, ("recipe", "model", "encoder_weights"), str(tmp_path / "evil.pth"))
    os.mkfifo(tmp_path / "evil.pth")  # what a run names is not opened, or this would never end
    (foreign_run / "fold-1" / "model.safetensors").write_bytes(saved(mark))
    words = (JOB / "predict.py", "--run", foreign_run, "--dicom", chain.planted.test, "--out", tmp_path / "out")
    line = last_line(commands.run("hostile predict", *words, expect=2))
    assert str(foreign_run / "fold-1" / "model.safetensors") in line
    assert not mark.exists()
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert left == ["quarantine.csv"], "no shards of patients stay behind"


def test_ensemble_refuses_a_dataset_that_names_other_files(commands: Commands, chain: Chain, tmp_path: Path) -> None:
    own = shutil.copytree(chain.out / "dataset", tmp_path / "dataset")
    change_table(own, "shard", "../../../../etc/passwd")
    words = (JOB / "ensemble.py", "--runs", chain.out / "run", "--dataset", own, "--out", tmp_path / "s.csv")
    assert "a shard named '../../../../etc/passwd'" in last_line(commands.run("hostile", *words, expect=2))


def test_training_does_not_resume_from_a_checkpoint_with_code(
    commands: Commands, chain: Chain, foreign_run: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    (foreign_run / "fold-0" / "fold.json").unlink()
    newest = checkpoint.latest(foreign_run / "fold-0" / "checkpoints")
    assert newest is not None
    (newest / "optimizer.pt").write_bytes(saved(mark))
    sign_checkpoint(newest)
    words = [JOB / "train.py", "--dataset", chain.out / "dataset", "--run", foreign_run, "--recipe", "debug"]
    words += ["--epochs", 1, "--image-size", 32, "--checkpoint-every", 2]
    line = last_line(commands.run("hostile train", *words, expect=2))
    assert f"cannot resume from {newest}" in line
    assert not mark.exists()
