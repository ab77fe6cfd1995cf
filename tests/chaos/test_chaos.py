"""Shard, train and ensemble, killed at random instants and started again, leave what they leave undisturbed.

The seed repeats what is drawn, though not the machine's own timing::

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
from chaos_kills import Disturber
from chaos_stages import pipeline, undisturbed

from pneumo.synthetic import dicom_tree

SHARES = {"shard": 0.3, "train": 0.45, "ensemble": 0.25}
"""Of the kills."""


def budgets(kills: int) -> dict[str, int]:
    """Divide the kills among the stages."""
    given = {name: int(share * kills) for name, share in SHARES.items()}
    return given | {"train": given["train"] + kills - sum(given.values())}


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")


def seed_and_kills() -> tuple[int, int]:
    seed = os.environ.get("PNEUMO_CHAOS_SEED") or int.from_bytes(os.urandom(4), "big")
    return int(seed), int(os.environ.get("PNEUMO_CHAOS_KILLS", "20"))


@pytest.mark.chaos
def test_what_is_killed_and_started_again_ends_with_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, kills = seed_and_kills()
    with capsys.disabled():
        say(f"\nPNEUMO_CHAOS_SEED={seed} PNEUMO_CHAOS_KILLS={kills}")
    began = time.monotonic()
    # Mostly positive: the rules then find masks worth submitting, even from a network that has learned little.
    dicoms = dicom_tree.write_tree(
        tmp_path / "dicoms", images=130, test_images=264, size=64, positive_share=0.97, seed=3, workers=2
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made: dict[str, Path] = {}
    paces = {}
    for stage in pipeline(dicoms, made):
        folder = tmp_path / "undisturbed" / stage.name
        paces[stage.name] = undisturbed(stage, folder, scratch)
        made[stage.name] = folder
        say(f"undisturbed {stage.name}: {paces[stage.name]}")
    references = dict(made)
    with (references["ensemble"] / "submission.csv").open() as file:
        assert any(row["EncodedPixels"] != "-1" for row in csv.DictReader(file)), "nothing to tell submissions apart"

    disturbed: list[Disturber] = []
    rng = np.random.default_rng(seed)
    for stage in pipeline(dicoms, made):
        disturber = Disturber(
            stage=stage,
            pace=paces[stage.name],
            reference=references[stage.name],
            folder=tmp_path / "disturbed" / stage.name,
            scratch=scratch,
            rng=rng,
        )
        disturbed.append(disturber)
        try:
            disturber.run(budgets(kills)[stage.name])
        finally:
            for kill in disturber.kills:
                say(kill)
        made[stage.name] = disturber.folder
    report(disturbed, capsys, time.monotonic() - began)
    check_teeth(disturbed, kills)
    # A gigabyte of checkpoints, of interest only when something went wrong.
    shutil.rmtree(tmp_path)


def report(disturbed: list[Disturber], capsys: pytest.CaptureFixture[str], seconds: float) -> None:
    """Print a line for each stage."""
    with capsys.disabled():
        for one in disturbed:
            at_work, torn = sum(k.at_work for k in one.kills), sum(k.torn > 0 for k in one.kills)
            manners = Counter(kill.manner.split()[0].strip(",") for kill in one.kills)
            say(
                f"{one.stage.name}: {len(one.kills)} kills ({dict(manners)}), {at_work} at work, {torn} in mid-write;"
                f" {one.starts} starts, {one.went_on} went on, {one.rounds} round(s)"
            )
        say(f"{seconds:.0f} s")


def check_teeth(disturbed: list[Disturber], kills: int) -> None:
    """Make sure that the kills hit the work, and that the work was taken up."""
    every = [kill for one in disturbed for kill in one.kills]
    assert len(every) == kills
    assert sum(kill.at_work for kill in every) >= kills / 2
    train = next(one for one in disturbed if one.stage.name == "train")
    assert train.went_on >= len(train.kills) // 5
    assert sum(kill.torn > 0 for kill in every) >= kills // 20
