"""job/ensemble.py as a user runs it, on a finished run."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from job_commands import JOB, LAUNCH, run

from pneumo.inference.predictor import Predictor
from pneumo.synthetic.dicom_tree import SyntheticTree


def test_ensembling_afterwards_gives_the_same_submission(
    alone: Path,
    dataset: Path,
    synthetic: SyntheticTree,
    tmp_path: Path,
    call_on_one_core: Callable[..., tuple[object, str]],
) -> None:
    words = ["--runs", alone, "--dataset", dataset, "--out", tmp_path / "s.csv"]
    code, output = call_on_one_core("ensemble", *words)
    assert code == 0, output
    assert (tmp_path / "s.csv").read_bytes() == (alone / "submission.csv").read_bytes()
    code, output = run([JOB / "ensemble.py", *words, "--expected", synthetic.test_masks], launcher=LAUNCH)
    assert code == 0, output
    with synthetic.test_masks.open() as file:
        expected = [row["ImageId"] for row in csv.DictReader(file)]
    with (tmp_path / "s.csv").open() as file:
        assert [row["ImageId"] for row in csv.DictReader(file)] == list(dict.fromkeys(expected))


def test_too_little_memory_is_an_error_with_the_flags_that_need_less(
    alone: Path,
    dataset: Path,
    synthetic: SyntheticTree,
    tmp_path: Path,
    call_on_one_core: Callable[..., tuple[object, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(Predictor, "__call__", fail)
    commands = {
        "ensemble": ["--runs", alone, "--dataset", dataset, "--out", tmp_path / "s.csv"],
        "predict": ["--run", alone, "--dicom", synthetic.test_dicom, "--out", tmp_path / "predicted"],
    }
    for command, words in commands.items():
        code, output = call_on_one_core(command, *words)
        assert code == 2, output
        assert "too little memory (OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.)" in output
        assert "--loader opencv, with --precision bf16" in output
        assert "Traceback" not in output
