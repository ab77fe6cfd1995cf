"""The results of job/predict.py: of one prediction, not replaced once changed, and none of one that was stopped."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from job_commands import JOB, Predict, read_rows, run, start
from waiting import LONG_S, wait_until

from pneumo.masks import submission
from pneumo.reporting.outputs.registry import OUTPUTS
from pneumo.runtime import locks, result_directory
from pneumo.runtime.files import publish_text
from pneumo.runtime.result_directory import RECORD
from pneumo.synthetic.tree import SyntheticTree


def test_masks_that_were_corrected_by_hand_are_not_replaced(
    predict: Predict, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    out, file = tmp_path / "out", next(synthetic.test_dicom.iterdir())
    for _ in range(2):
        code, output = predict(file, out)
        assert code == 0, output
    corrected = (out / "predictions.csv").read_text().replace(" ", "  ") + "\n"
    (out / "predictions.csv").write_text(corrected)
    code, output = predict(file, out)
    assert code == 2, output
    assert f"changed since a prediction wrote it into {out}: 1 (predictions.csv); expected" in output
    assert (out / "predictions.csv").read_text() == corrected
    (out / "predictions.csv").rename(tmp_path / "corrected.csv")
    code, output = predict(file, out)
    assert code == 0, output
    assert (out / "predictions.csv").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_stopped_prediction_leaves_no_pixels_and_the_earlier_results(
    alone: Path, synthetic: SyntheticTree, tmp_path: Path, number: signal.Signals
) -> None:
    out, staged = tmp_path / "out", tmp_path / "staged"
    publish_text(staged / "findings.csv", "earlier")
    result_directory.publish(staged, out)
    earlier = {path.name: path.read_text() for path in out.iterdir()}
    incoming = shutil.copytree(synthetic.test_dicom, tmp_path / "incoming")
    for copy in range(40):
        shutil.copytree(synthetic.dicom, incoming / str(copy), copy_function=os.link)
    process = start([JOB / "predict.py", "--run", alone, "--dicom", incoming, "--out", out, "--workers", 1])
    wait_until(lambda: list(out.glob(".shards.*")), process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 128 + number, output
    assert f"stopped by {number.name}" in output
    assert "Traceback" not in output
    assert {path.name: path.read_text() for path in out.iterdir()} == earlier


def test_the_docstring_lists_the_outputs(load_command: Callable[[str], ModuleType]) -> None:
    listed = re.findall(r"^    ([a-z_.]+)/?  +[a-zA-Z]", load_command("predict").__doc__ or "", re.MULTILINE)
    assert set(listed) == set(load_command("predict").WRITTEN)


def test_outputs_are_chosen_by_name_and_none_is_left_of_an_earlier_prediction(
    predict: Predict, all_positive: Path, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    out, files = tmp_path / "out", sorted(synthetic.test_dicom.iterdir())
    code, output = predict(files[0], out, "--outputs", "findings", "overlays", run=all_positive)
    assert code == 0, output
    assert {p.name for p in out.iterdir()} == {
        "findings.csv",
        "overlays",
        "quarantine.csv",
        "left_out.csv",
        "logs",
        RECORD,
    }
    assert [p.name for p in (out / "overlays").iterdir()] == [f"{files[0].stem}.png"]
    before = (out / "findings.csv").read_bytes()
    code, output = predict(files[1], out, "--outputs", "findings", run=all_positive)
    assert code == 2, output
    assert "has overlays of an earlier prediction, and --outputs is findings; expected results of one" in output
    assert (out / "findings.csv").read_bytes() == before
    code, output = predict(files[1], out, run=all_positive)
    assert code == 0, output
    assert f"{out}: removed 1 file of an earlier prediction" in output
    assert [p.name for p in (out / "overlays").iterdir()] == [f"{files[1].stem}.png"]
    assert [row["image_id"] for row in read_rows(out / "findings.csv")] == list(
        submission.read(out / "predictions.csv")
    )
    code, output = predict(files[1], out, "--outputs", "findings", "dicom_seg")
    assert code == 2, output
    assert f"--outputs findings dicom_seg; expected one or more of {', '.join(OUTPUTS)}, each once" in output


def test_what_a_killed_prediction_left_is_removed_but_not_under_another_process(
    predict: Predict, synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, file = tmp_path / "out", next(synthetic.test_dicom.iterdir())
    (out / ".shards.pneumo-tmp-abcdefgh" / "dataset").mkdir(parents=True)
    (out / f".{RECORD}.pneumo-tmp-abcdefgh").touch()
    (out / ".mine.pneumo-tmp-abcdefgh").touch()
    with locks.hold(out / ".lock", "the test"), monkeypatch.context() as patch:
        patch.setattr(locks, "hold", partial(locks.hold, wait_s=0.0))
        code, output = predict(file, out)
    assert code == 2, output
    assert f"another process works on {out}" in output
    code, output = predict(file, out, "--outputs", "predictions")
    assert code == 0, output
    assert {p.name for p in out.iterdir()} == {
        "predictions.csv",
        "quarantine.csv",
        "left_out.csv",
        "logs",
        RECORD,
        ".mine.pneumo-tmp-abcdefgh",
    }


def test_results_of_a_run_are_written_under_its_lock_only(
    alone: Path, predict: Predict, synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = shutil.copytree(alone, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    for name in ("metrics.json", "thresholds.json"):
        (trained / name).unlink()
    temporary = trained / ".thresholds.json.pneumo-tmp-abcdefgh"
    temporary.touch()
    file = next(synthetic.test_dicom.iterdir())
    with locks.hold(trained / ".lock", "the test"), monkeypatch.context() as patch:
        patch.setattr(locks, "hold", partial(locks.hold, wait_s=0.0))
        code, output = predict(file, tmp_path / "out", run=trained)
    assert code == 2, output
    assert f"another process works on {trained}" in output
    assert temporary.exists()
    assert not (trained / "thresholds.json").exists()
    code, output = predict(file, tmp_path / "out", run=trained)
    assert code == 0, output
    assert (trained / "thresholds.json").read_bytes() == (alone / "thresholds.json").read_bytes()
    assert not temporary.exists()


def test_a_long_temporary_path_is_not_taken_for_a_full_disk(
    alone: Path, synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / ("t" * 110)
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    words = ["--run", alone, "--dicom", synthetic.test_dicom, "--out", tmp_path / "out"]
    code, output = run([JOB / "predict.py", *words])
    assert code == 2, output
    assert "; set TMPDIR, for example to /tmp" in output
    assert "free space" not in output


def test_a_disk_without_space_for_the_images_is_named_by_the_flag(
    predict: Predict, synthetic: SyntheticTree, small_disk: Path
) -> None:
    out = small_disk / "out"
    subprocess.run(["mount", "-o", "remount,size=24k", small_disk], check=True)
    code, output = predict(synthetic.test_dicom, out)
    assert code == 2, output
    assert f"--out {out}: No space left on device; expected free space for the images" in output
    assert ".pneumo-tmp" not in output
    assert not list(out.iterdir())


def test_the_tables_are_written_when_the_pictures_fill_the_disk(
    predict: Predict, all_positive: Path, synthetic: SyntheticTree, small_disk: Path
) -> None:
    out = small_disk / "out"
    subprocess.run(["mount", "-o", "remount,size=700k", small_disk], check=True)
    code, output = predict(synthetic.test_dicom, out, run=all_positive)
    assert code == 2, output
    assert "overlays is incomplete (OSError: [Errno 28] No space left on device" in output
    assert "No space left on device; expected free space; delete files, or use a larger disk" in output
    assert "Traceback" not in output
    assert 0 < len(list((out / "overlays").iterdir())) < 6
    masks = submission.read(out / "predictions.csv")
    assert len(masks) == 6
    assert [row["image_id"] for row in read_rows(out / "findings.csv")] == list(masks)
    assert [path.name for path in out.glob(".*")] == [RECORD]
