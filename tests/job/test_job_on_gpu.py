"""The commands on GPUs: ``./launch.sh test -m gpu``. Those without the marker are for processes that share a CPU."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from job_commands import JOB, RECIPE, launch, run, start, warm

from pneumo.synthetic.tree import SyntheticTree

GPU = pytest.mark.gpu
TWO_RANKS = [sys.executable, JOB / "launch.py", "--processes", "2"]
TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two ranks of a fold need a GPU each")
SHARED = pytest.mark.usefixtures("one_gpu")


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands see the first GPU alone."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")


def words(dataset: Path, directory: Path, *more: object) -> list[object]:
    return [JOB / "train.py", "--dataset", dataset, "--run", directory, *RECIPE, *more]


@GPU
@SHARED
def test_of_two_ranks_on_one_gpu_one_trains_a_fold_alone(dataset: Path, tmp_path: Path) -> None:
    code, output = run(words(dataset, tmp_path / "run", "--folds", 0), launcher=TWO_RANKS)
    assert code == 0, output
    assert "1 of 2 ranks train: the other 1 would not shorten the training of 1 fold" in output
    assert "ranks that share a GPU cannot train a fold together" in output
    assert "; rank 0: fold 0\n" in output


@GPU
@SHARED
def test_two_ranks_share_a_gpu_for_two_folds(dataset: Path, tmp_path: Path) -> None:
    code, output = run(words(dataset, tmp_path / "run"), launcher=TWO_RANKS)
    assert code == 0, output
    assert "rank 0: fold 0; rank 1: fold 1" in output
    assert (tmp_path / "run" / "submission.csv").is_file()


@GPU
@SHARED
def test_variants_are_trained_and_predict_again_on_a_gpu(dataset: Path, tmp_path: Path) -> None:
    recipe = " ".join(word for word in RECIPE if word not in ("--checkpoint-minutes", "0.001"))
    lines = [f"base: {recipe}", f"no-tta: {recipe} --tta", f"all: {recipe} --loss.dice-on all"]
    (tmp_path / "variants.txt").write_text("\n".join(lines))
    flags = ["--dataset", dataset, "--variants", tmp_path / "variants.txt", "--out", tmp_path / "out"]
    code, output = run([JOB / "compare.py", *flags])
    assert code == 0, output
    assert output.count("has the network of") == 2
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert ([variant["name"] for variant in found["variants"]], found["unfinished"]) == (["base", "no-tta", "all"], [])
    assert torch.cuda.get_device_name(0) in found["hardware"]
    base, again = (tmp_path / "out" / "runs" / f"{name}-seed-0" / "fold-1" for name in ("base", "no-tta"))
    assert (base / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=[GPU, TWO_GPUS])]
)
def test_two_ranks_of_a_fold_do_the_steps_of_one(device: str, dataset: Path, tmp_path: Path) -> None:
    histories = []
    one_rank, two_ranks = (warm(), launch(2)) if device == "cpu" else ([sys.executable], TWO_RANKS)
    for name, launcher in (("one", one_rank), ("two", two_ranks)):
        command = words(dataset, tmp_path / name, "--folds", 0, "--precision", "fp32", "--loader", "opencv")
        code, output = run(command, launcher=launcher)
        assert code == 0, output
        assert ("on cpu in fp32" in output) == (device == "cpu")
        histories.append(json.loads((tmp_path / name / "fold-0" / "fold.json").read_text())["history"])
    one, two = ([entry["train/total"] for entry in history] for history in histories)
    assert two == pytest.approx(one, rel=2e-2)


def ranks(launcher: subprocess.Popen[str]) -> dict[int, int]:
    """Return the process id of each rank of a launcher."""
    found = {}
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        environ = dict(entry.partition("=")[::2] for entry in Path(f"/proc/{child}/environ").read_text().split("\0"))
        if "RANK" in environ:
            found[int(environ["RANK"])] = int(child)
    return found


@pytest.mark.parametrize(
    ("device", "number"),
    [
        # One that is killed on a CPU: test_job_recovery.py.
        pytest.param("cpu", signal.SIGSTOP, id="hanging, cpu", marks=pytest.mark.slow),
        pytest.param("cuda", signal.SIGSTOP, id="hanging, cuda", marks=[GPU, TWO_GPUS]),
        pytest.param("cuda", signal.SIGKILL, id="killed, cuda", marks=[GPU, TWO_GPUS]),
    ],
)
def test_a_lost_rank_of_a_fold_is_named_by_the_other(
    device: str, number: signal.Signals, dataset: Path, tmp_path: Path
) -> None:
    more = ("--folds", 0, "--epochs", 1000, "--rank-timeout", 15)
    process = start(words(dataset, tmp_path / "run", *more), launcher=TWO_RANKS)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("run/fold-0/checkpoints/step-*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(ranks(process)[1], number)
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 1, output
    assert "[rank 0] ERROR rank 1 no longer responds" in output
    assert "rank 0 made no progress" not in output
    assert "SIGABRT" not in output
    assert ("on cpu in" in output) == (device == "cpu")


def findings(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@GPU
def test_predictions_on_a_gpu_are_those_on_a_cpu(
    dataset: Path, synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, output = run(words(dataset, tmp_path / "run"), launcher=[sys.executable])
    assert code == 0, output
    for name in ("gpu", "cpu"):
        if name == "cpu":
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        command = [JOB / "predict.py", "--run", tmp_path / "run", "--dicom", synthetic.test_dicom]
        code, output = run([*command, "--out", tmp_path / name, "--loader", "opencv"], launcher=[sys.executable])
        assert code == 0, output
    ours, theirs = (findings(tmp_path / name / "findings.csv") for name in ("gpu", "cpu"))
    assert len(ours) == 6
    for left, right in zip(ours, theirs, strict=True):
        assert left["image_id"] == right["image_id"]
        for name in ("presence_probability", "max_pixel_probability"):
            assert float(left[name]) == pytest.approx(float(right[name]), abs=2e-2)
