"""Files of others, given to the commands."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hostile import change_record, change_table, saved, sign_checkpoint
from security_chain import JOB, SMALL, Chain, Commands

from pneumo.training import checkpoint
from pneumo.training.checkpoint import Snapshot
from pneumo.training.loop_state import LoopState


def last_line(output: str) -> str:
    assert "Traceback" not in output, output
    return output.splitlines()[-1]


class Refused(NamedTuple):
    """What a command printed last, and where it worked."""

    line: str
    directory: Path


@pytest.fixture(scope="module")
def refused(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refused]:
    """The commands, given copies of the chain's results that were changed as an attacker would."""
    directories = {name: tmp_path_factory.mktemp(name) for name in ("predict", "ensemble", "train")}
    directory = directories["predict"]
    run = shutil.copytree(chain.out / "run", directory / "run")
    change_record(run, ("recipe", "model", "encoder_weights"), str(directory / "evil.pth"))
    os.mkfifo(directory / "evil.pth")  # what a run names is not opened, or this would never end
    (run / "fold-1" / "model.safetensors").write_bytes(saved(directory / "mark"))
    predict = (JOB / "predict.py", "--run", run, "--dicom", chain.planted.test, "--out", directory / "out")

    directory = directories["ensemble"]
    dataset = shutil.copytree(chain.out / "dataset", directory / "dataset")
    change_table(dataset, "shard", "../../../../etc/passwd")
    ensemble = (JOB / "ensemble.py", "--runs", chain.out / "run", "--dataset", dataset, "--out", directory / "s.csv")

    directory = directories["train"]
    run = shutil.copytree(chain.out / "run", directory / "run")
    (run / "fold-0" / "fold.json").unlink()
    weights = {"model": {"w": torch.zeros(2)}}
    newest = checkpoint.save(run / "fold-0" / "checkpoints", Snapshot(LoopState(step=2), weights, {}))
    (newest / "optimizer.pt").write_bytes(saved(directory / "mark"))
    sign_checkpoint(newest)
    train = (
        *(JOB / "train.py", "--dataset", chain.out / "dataset", "--run", run, "--recipe", "debug"),
        *("--epochs", 1, "--image-size", 32, "--checkpoint-minutes", 0.001, *SMALL),
    )

    commands = Commands(tmp_path_factory.mktemp("commands"))
    commands.run_sequence({"predict": predict, "ensemble": ensemble, "train": train}, expect=2)
    return {name: Refused(last_line(commands.output[name]), directory) for name, directory in directories.items()}


def test_predict_refuses_a_run_whose_weights_are_code(refused: dict[str, Refused]) -> None:
    line, directory = refused["predict"]
    assert str(directory / "run" / "fold-1" / "model.safetensors") in line
    assert not (directory / "mark").exists()
    assert list((directory / "out").iterdir()) == [], "no shards of patients stay behind"


def test_ensemble_refuses_a_dataset_that_names_other_files(refused: dict[str, Refused]) -> None:
    assert "a shard named '../../../../etc/passwd'" in refused["ensemble"].line


def test_training_does_not_resume_from_a_checkpoint_with_code(refused: dict[str, Refused]) -> None:
    line, directory = refused["train"]
    assert f"cannot resume from {directory / 'run' / 'fold-0' / 'checkpoints'}" in line
    assert not (directory / "mark").exists()
