"""One chain of all commands over files full of secrets, without a network, for the tests of this folder."""

import planted
import pytest
from security_chain import JOB, Chain, Commands


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Shards, a run of the debug recipe, an ensemble, predictions and a score, of files full of secrets."""
    folder = tmp_path_factory.mktemp("chain")
    source = planted.write(folder / planted.PATH)
    commands, out = Commands(folder), folder / "out"
    commands.run(
        "shard",
        *(JOB / "shard.py", "--dicom", source.train, "--test-dicom", source.test, "--masks", source.masks),
        *("--max-quarantined", 50),
        *("--patients", source.patients, "--out", out / "dataset", "--num-folds", 2, "--workers", 2),
    )
    commands.run(
        "train",
        *(JOB / "train.py", "--dataset", out / "dataset", "--run", out / "run", "--recipe", "debug"),
        *("--epochs", 1, "--image-size", 32, "--checkpoint-every", 2),
    )
    commands.run(
        "ensemble",
        *(JOB / "ensemble.py", "--runs", out / "run", "--dataset", out / "dataset", "--out", out / "ensemble.csv"),
    )
    commands.run(
        "predict", JOB / "predict.py", "--run", out / "run", "--dicom", source.root, "--out", out / "predictions"
    )
    commands.run(
        "score",
        *(JOB / "score.py", "--truth", source.masks, "--submission", out / "run" / "oof.csv", "--missing", "ignore"),
        *("--out", out / "scores.csv"),
    )
    return Chain(source, commands, out)
