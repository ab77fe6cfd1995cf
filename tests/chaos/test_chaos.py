"""Shard, train and ensemble, killed at random instants and started again, give the results of an uninterrupted run.

The seed repeats the random draws, though not the timing of the machine::

    PNEUMO_CHAOS_KILLS=100 PNEUMO_CHAOS_SEED=1234 .venv/bin/pytest -m chaos -rA
"""

import csv
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from chaos_kills import Killer
from chaos_pipeline import pipeline, run_uninterrupted

from pneumo.synthetic import dicom_tree

SHARE_OF_KILLS = {"shard": 0.3, "train": 0.45, "ensemble": 0.25}
"""By command."""


def budgets(kills: int) -> dict[str, int]:
    """Divide the kills among the commands."""
    given = {name: int(share * kills) for name, share in SHARE_OF_KILLS.items()}
    return given | {"train": given["train"] + kills - sum(given.values())}


def write_line(text: object) -> None:
    sys.stdout.write(f"{text}\n")


def seed_and_kills() -> tuple[int, int]:
    seed = os.environ.get("PNEUMO_CHAOS_SEED") or int.from_bytes(os.urandom(4), "big")
    return int(seed), int(os.environ.get("PNEUMO_CHAOS_KILLS", "20"))


@pytest.mark.chaos
def test_killed_and_restarted_commands_end_with_the_same_bytes(
    tmp_path: Path, short_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, kills = seed_and_kills()
    with capsys.disabled():
        write_line(f"\nPNEUMO_CHAOS_SEED={seed} PNEUMO_CHAOS_KILLS={kills}")
    began = time.monotonic()
    # Mostly positive: the decision rule then finds masks to submit, even from a network that has learned little.
    dicoms = dicom_tree.write_tree(
        tmp_path / "dicoms", images=130, test_images=264, size=64, positive_fraction=0.97, seed=3, workers=2
    )
    made: dict[str, Path] = {}
    durations = {}
    for command in pipeline(dicoms, made):
        directory = tmp_path / "uninterrupted" / command.name
        durations[command.name] = run_uninterrupted(command, directory, short_directory)
        made[command.name] = directory
        write_line(f"uninterrupted {command.name}: {durations[command.name]}")
    references = dict(made)
    with (references["ensemble"] / "submission.csv").open() as file:
        assert any(row["EncodedPixels"] != "-1" for row in csv.DictReader(file)), (
            "no mask: submissions could not differ"
        )

    killers: list[Killer] = []
    rng = np.random.default_rng(seed)
    for command in pipeline(dicoms, made):
        killer = Killer(
            command=command,
            durations=durations[command.name],
            reference=references[command.name],
            directory=tmp_path / "killed" / command.name,
            scratch=short_directory,
            rng=rng,
        )
        killers.append(killer)
        try:
            killer.run(budgets(kills)[command.name])
        finally:
            for kill in killer.kills:
                write_line(kill)
        made[command.name] = killer.directory
    report(killers, capsys, time.monotonic() - began)
    check_coverage(killers, kills)
    # A gigabyte of checkpoints, which are needed only after a failure.
    shutil.rmtree(tmp_path)


def report(killers: list[Killer], capsys: pytest.CaptureFixture[str], seconds: float) -> None:
    """Print a line for each command."""
    with capsys.disabled():
        for one in killers:
            at_work, torn = sum(k.at_work for k in one.kills), sum(k.torn > 0 for k in one.kills)
            methods = Counter(kill.method.split()[0].strip(",") for kill in one.kills)
            write_line(
                f"{one.command.name}: {len(one.kills)} kills ({dict(methods)}), {at_work} at work, {torn} in mid-write;"
                f" {one.starts} starts, {one.resumed} resumed, {one.rounds} round(s)"
            )
        write_line(f"{seconds:.0f} s")


def check_coverage(killers: list[Killer], kills: int) -> None:
    """Check that the kills hit the work, and that the work was resumed."""
    every = [kill for one in killers for kill in one.kills]
    assert len(every) == kills
    assert sum(kill.at_work for kill in every) >= kills / 2
    train = next(one for one in killers if one.command.name == "train")
    assert train.resumed >= len(train.kills) // 5
    assert sum(kill.torn > 0 for kill in every) >= kills // 20
