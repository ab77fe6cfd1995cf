"""One chain of all commands over files full of secrets, without a network, for the tests of this directory."""

import planted
import pytest
from planted_modules import plant_modules
from security_chain import JOB, SMALL, Chain, Commands

STOP = """
import os, runpy, signal, sys, threading, time
from pathlib import Path

def stop() -> None:
    while not any(Path(run).glob("fold-0/checkpoints/step-*")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

run = sys.argv[1]
sys.argv = sys.argv[2:]
threading.Thread(target=stop, daemon=True).start()
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a training command, and asks it to stop once a checkpoint is there: a finished fold has none."""


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Shards, a run and one that was stopped, what all other commands made of it, of files full of secrets."""
    directory = tmp_path_factory.mktemp("chain")
    source = planted.write(directory / planted.PATH)
    plant_modules(directory)
    commands, out = Commands(directory), directory / "out"
    dataset, run = ("--dataset", out / "dataset"), out / "run"
    commands.run_sequence(
        {
            "shard": (
                *(JOB / "shard.py", "--dicom", source.train, "--test-dicom", source.test, "--masks", source.masks),
                *("--max-quarantined", 50, "--patients", source.patients, "--out", out / "dataset"),
                *("--num-folds", 2, "--workers", 2),
            ),
            "explore": (JOB / "explore.py", *dataset, "--out", out / "explore.html"),
            "train": (
                *(JOB / "train.py", *dataset, "--run", run, "--recipe", "debug"),
                *("--epochs", 1, "--image-size", 32, "--checkpoint-minutes", 0.001, *SMALL),
            ),
            "ensemble": (JOB / "ensemble.py", "--runs", run, *dataset, "--out", out / "ensemble.csv"),
            "predict": (JOB / "predict.py", "--run", run, "--dicom", source.root, "--out", out / "predictions"),
            "export": (JOB / "export.py", "--run", run, *dataset, "--out", out / "model"),
            "score": (
                *(JOB / "score.py", "--truth", source.masks, "--submission", run / "oof.csv", "--missing", "ignore"),
                *("--out", out / "scores.csv"),
            ),
        }
    )
    recipe = ("--recipe", "debug", "--epochs", 1000, "--image-size", 32, "--checkpoint-minutes", 0.001, *SMALL)
    stopped = (out / "stopped", JOB / "train.py", *dataset, "--run", out / "stopped", *recipe)
    commands.run("stopped", "-P", "-c", STOP, *stopped, expect=3)
    return Chain(source, commands, out)
