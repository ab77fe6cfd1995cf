"""job/ensemble.py as a user runs it, on a finished run."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_driver import call
from job_commands import JOB, RECIPE, accelerate, run

from pneumo.inference.predictor import Predictor
from pneumo.runtime import locks, recorded
from pneumo.synthetic.tree import SyntheticTree


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
    code, output = run([JOB / "ensemble.py", *words, "--expected", synthetic.test_masks], launcher=accelerate())
    assert code == 0, output
    with synthetic.test_masks.open() as file:
        expected = [row["ImageId"] for row in csv.DictReader(file)]
    with (tmp_path / "s.csv").open() as file:
        assert [row["ImageId"] for row in csv.DictReader(file)] == list(dict.fromkeys(expected))


def test_only_what_the_command_wrote_is_replaced(
    alone: Path, dataset: Path, tmp_path: Path, call_on_one_core: Callable[..., tuple[object, str]]
) -> None:
    run, out = shutil.copytree(alone, tmp_path / "run"), tmp_path / "s.csv"
    words = ["--runs", run, "--dataset", dataset, "--out"]
    submission = (run / "submission.csv").read_bytes()
    # Masks drawn by hand look like a submission, as do those of another run.
    for theirs, content in ((out, "ImageId,EncodedPixels\na,-1\n"), (tmp_path / "other" / "submission.csv", "x\n")):
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_text(content)
        code, output = call_on_one_core("ensemble", *words, theirs)
        assert (code, theirs.read_text()) == (2, content)
        assert (
            f"--out would replace {theirs}, which has no record .{theirs.name}.pneumo-sha256 beside it; expected a new"
            " file, or an earlier result of this command as it was written; give another --out, or move the file"
        ) in output
    # The run's own, whoever wrote it; then a new file, again, and after a correction by hand.
    (run / "submission.csv").write_text("x\n")
    out.unlink()
    for target in (run / "submission.csv", out, out):
        code, output = call_on_one_core("ensemble", *words, target)
        assert (code, target.read_bytes()) == (0, submission), output
    assert not list(run.glob(".*"))
    out.write_bytes(submission + b"\n")
    code, output = call_on_one_core("ensemble", *words, out)
    assert (code, out.read_bytes()) == (2, submission + b"\n"), output
    assert f"--out would replace {out}, which was changed since this command wrote it" in output
    # The metrics of a blend, before anything is predicted.
    (tmp_path / "b.metrics.json").write_text('{"format_version": 3}')
    blend = ["--runs", run, alone, "--dataset", dataset, "--out", tmp_path / "b.csv"]
    code, output = call_on_one_core("ensemble", *blend)
    assert (code, (tmp_path / "b.metrics.json").read_text()) == (2, '{"format_version": 3}')
    assert "b.metrics.json, which is no earlier result of this command; expected a new file, or JSON with" in output


def test_a_finished_run_is_only_read(
    alone: Path, dataset: Path, tmp_path: Path, call_on_one_core: Callable[..., tuple[object, str]]
) -> None:
    run = shutil.copytree(alone, tmp_path / "run")
    words = ["--runs", run, "--dataset", dataset, "--out", tmp_path / "s.csv"]
    with locks.hold(run / ".lock", "the run of another process"):
        code, output = call_on_one_core("ensemble", *words)
        assert (run / ".lock").exists()
    assert (code, (tmp_path / "s.csv").read_bytes()) == (0, (alone / "submission.csv").read_bytes()), output
    # The lock of a process that was killed is removed.
    (run / ".lock").touch()
    code, output = call_on_one_core("ensemble", *words)
    assert (code, list(run.glob(".*"))) == (0, []), output


@pytest.mark.usefixtures("empty_charts")
@pytest.mark.parametrize("left", ["none", "of the unfinished run"])
def test_a_report_that_a_stopped_command_left_unwritten_is_written(
    alone: Path, dataset: Path, tmp_path: Path, call_on_one_core: Callable[..., tuple[object, str]], left: str
) -> None:
    # The name of the run is in its report.
    run = shutil.copytree(alone, tmp_path / "copy" / alone.name)
    report = run / "report.html"
    finished = report.read_bytes()
    words = ["--runs", run, "--dataset", dataset, "--out", tmp_path / "s.csv"]
    if left == "none":
        report.unlink()
    else:
        # Of job/report.py, which gathered before the metrics were written and published behind them.
        metrics = (run / "metrics.json").rename(tmp_path / "metrics.json")
        code, *printed = call("report", ["--run", str(run), "--dataset", str(dataset)])
        assert code in (0, None), printed
        assert b"the metrics are not written yet" in report.read_bytes()
        metrics.rename(run / "metrics.json")
    code, output = call_on_one_core("ensemble", *words)
    assert (code, report.read_bytes() == finished) == (0, True), output
    # The next one only reads the run.
    written = report.stat().st_mtime_ns
    code, output = call_on_one_core("ensemble", *words)
    assert (code, report.stat().st_mtime_ns) == (0, written), output


def test_a_submission_is_a_csv_file(
    alone: Path, dataset: Path, tmp_path: Path, call_on_one_core: Callable[..., tuple[object, str]]
) -> None:
    words = ["--runs", alone, "--dataset", dataset, "--out", tmp_path / "s.txt"]
    code, output = call_on_one_core("ensemble", *words)
    assert code == 2
    assert f"--out {tmp_path}/s.txt; expected the name of a file that ends with .csv" in output
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_write_one_submission(
    alone: Path, dataset: Path, tmp_path: Path, call_on_one_core: Callable[..., tuple[object, str]]
) -> None:
    out = tmp_path / "s.csv"
    with locks.hold(recorded.lock_path(out), "the submission of another process"):
        code, output = call_on_one_core("ensemble", "--runs", alone, "--dataset", dataset, "--out", out)
    assert (code, out.exists()) == (2, False), output
    assert f"another process works on --out {out}" in output


def test_a_finished_run_may_be_on_a_read_only_mount(
    alone: Path,
    dataset: Path,
    synthetic: SyntheticTree,
    tmp_path: Path,
    call_on_one_core: Callable[..., tuple[object, str]],
    read_only: Callable[[Path], None],
) -> None:
    run, out = shutil.copytree(alone, tmp_path / "run"), tmp_path / "s.csv"
    read_only(run)
    with pytest.raises(OSError, match="Read-only file system"):
        (run / "x").touch()
    predictions = tmp_path / "predicted" / "predictions.csv"
    image = next(synthetic.test_dicom.rglob("*.dcm"))
    commands: dict[str, list[object]] = {
        "ensemble": ["--runs", run, "--dataset", dataset, "--out", out],
        "predict": ["--run", run, "--dicom", image, "--out", predictions.parent],
        "score": ["--truth", synthetic.masks, "--submission", run / "oof.csv"],
    }
    for command, words in commands.items():
        code, output = call_on_one_core(command, *words)
        assert code == 0, output
    assert out.read_bytes() == (alone / "submission.csv").read_bytes()
    assert len(predictions.read_text().splitlines()) == 2
    # What has to be written there is refused.
    code, output = call_on_one_core("ensemble", *commands["ensemble"][:-1], run / "submission.csv")
    assert code == 2, output
    assert "Read-only file system" in output


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


def test_runs_with_and_without_a_presence_head_are_blended_under_a_rule_of_their_own(
    alone: Path, dataset: Path, tmp_path: Path, call_on_one_core: Callable[..., tuple[object, str]]
) -> None:
    headed, other = shutil.copytree(alone, tmp_path / "headed"), tmp_path / "headless"
    code, output = call_on_one_core(
        "train", "--dataset", dataset, "--run", other, *RECIPE, "--seed", 1, "--model.no-presence-head",
        "--loss.presence", 0,
    )  # fmt: skip
    assert code == 0, output
    words = ["--runs", headed, other, "--weights", 2, 1, "--dataset", dataset, "--out", tmp_path / "blend.csv"]
    code, output = call_on_one_core("ensemble", *words)
    assert code == 0, output
    found = json.loads((tmp_path / "blend.metrics.json").read_text())
    assert (found["images"], found["networks"], found["submission_networks"]) == (32, 2, 4)
    assert [run["run"] for run in found["runs"]] == [str(headed), str(other)]
    assert f"nested Dice {found['nested']['dice']:.4f}" in output
    assert output.count("out-of-fold predictions are of 2 networks, submissions are means of 4") == 1

    # The mean of the rules: a run without a presence head does not halve the other's presence threshold.
    for directory, presence in ((headed, 0.5), (other, 0.0)):
        rule = {"top_threshold": 0.5, "min_area": 64.0, "bottom_threshold": 0.25, "presence_threshold": presence}
        (directory / "thresholds.json").write_text(json.dumps({"format_version": 2, "rule": rule}))
    # The metrics of the first blend stay until another submission is in its place.
    other_ids = tmp_path / "other.csv"
    other_ids.write_text("ImageId,EncodedPixels\nnobody,-1\n")
    code, output = call_on_one_core("ensemble", *words, "--rule", "mean", "--expected", other_ids)
    assert (code, (tmp_path / "blend.metrics.json").exists()) == (2, True), output
    code, output = call_on_one_core("ensemble", *words, "--rule", "mean")
    assert not (tmp_path / "blend.metrics.json").exists()
    mean_rule = "64 px (of 1024x1024) of probability >= 0.500 and presence probability >= 0.50"
    assert (code, mean_rule in output) == (0, True), output
    # A rule that calls every image empty is no number to average.
    empty = {"format_version": 2, "rule": {**rule, "min_area": 2.0 * 2**20}}
    (other / "thresholds.json").write_text(json.dumps(empty))
    code, output = call_on_one_core("ensemble", *words, "--rule", "mean")
    assert code == 2, output
    assert f"the decision rule of {other} calls every image empty" in output


def test_weights_of_another_fold_or_run_are_refused(
    alone: Path, dataset: Path, tmp_path: Path, call_on_one_core: Callable[..., tuple[object, str]]
) -> None:
    copy = shutil.copytree(alone, tmp_path / "run")
    words = ["--runs", copy, "--dataset", dataset, "--out", tmp_path / "s.csv"]
    shutil.copy(copy / "fold-0" / "model.safetensors", copy / "fold-1" / "model.safetensors")
    code, output = call_on_one_core("ensemble", *words)
    assert code == 2, output
    assert "fold-1/model.safetensors: SHA-256" in output
    shutil.copy(alone / "fold-1" / "model.safetensors", copy / "fold-1" / "model.safetensors")
    shutil.copy(copy / "fold-0" / "oof.parquet", copy / "fold-1" / "oof.parquet")
    for name in ("metrics.json", "thresholds.json", "oof.csv"):
        (copy / name).unlink()
    code, output = call_on_one_core("ensemble", *words)
    assert code == 2, output
    assert "fold-1/oof.parquet has predictions of fold 0; expected those of fold 1" in output
    assert not (tmp_path / "s.csv").exists()
