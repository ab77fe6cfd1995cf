"""No command's output replaces, or is written among, what it reads: refused before anything is written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_driver import call


@pytest.fixture(scope="module")
def place(alone: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, its run, DICOMs and CSVs."""
    root = tmp_path_factory.mktemp("outputs")
    shutil.copytree(dataset, root / "data")
    shutil.copytree(alone, root / "run")
    shutil.copytree(alone, root / "other", ignore=shutil.ignore_patterns("fold-*"))
    (root / "dicom").mkdir()
    (root / "dicom" / "a.dcm").touch()
    for name in ("masks.csv", "masks.json", "data/unmatched.csv", "run/submission.csv"):
        (root / name).write_text("ImageId,EncodedPixels\na,-1\n")
    for path in (root / "variants.txt", root / "mine" / "logs" / "v.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a: --recipe debug\nb: --recipe demo\n")
    # The user's own files, of names that commands write.
    for name in ("quarantine.csv", "samples.parquet", ".build/x", "predictions.csv", "overlays/x.png"):
        (root / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "mine" / name).write_text("mine")
    return root


def state(place: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in place.rglob("*")}


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("score", "--truth masks.csv --submission x.csv --out masks.csv", "replace masks.csv, which --truth reads"),
        ("score", "--truth x.csv --submission masks.csv --out ./masks.csv", "replace masks.csv, which --submission"),
        ("bench", "rle --dicom dicom --masks masks.csv --out dicom/b.json", "in dicom, which --dicom reads"),
        ("bench", "rle --dicom dicom --masks masks.json --out masks.json", "replace masks.json, which --masks reads"),
        ("shard", "--dicom dicom --masks masks.csv --out dicom", "replace dicom, which --dicom reads"),
        ("shard", "--dicom x --test-dicom dicom --out dicom", "replace dicom, which --test-dicom reads"),
        ("shard", "--dicom dicom --masks data/unmatched.csv --out data", "replace data/unmatched.csv, which --masks"),
        ("shard", "--dicom dicom --patients data/quarantine.csv --out data", "which --patients reads"),
        ("train", "--dataset data --run data", "replace data, which --dataset reads"),
        ("train", "--dataset data --run data/run", "write data/run in data, which --dataset reads"),
        ("train", "--dataset data --run run --expected run/submission.csv", "submission.csv, which --expected reads"),
        ("compare", "--dataset data --variants variants.txt --out data/c", "write data/c in data, which --dataset"),
        ("compare", "--dataset data --variants mine/logs/v.txt --out mine", "mine/logs, where --variants reads mine/"),
        ("ensemble", "--runs run --dataset data --out data/s.csv", "in data, which --dataset reads"),
        ("ensemble", "--runs run --dataset data --out masks.csv --expected masks.csv", "which --expected reads"),
        ("ensemble", "--runs run --dataset data --out run/oof.csv", "replace run/oof.csv, which --runs reads"),
        ("ensemble", "--runs run --dataset data --out run/fold-0/s.csv", "in run/fold-0, which --runs reads"),
        ("predict", "--run run --dicom dicom --out dicom", "replace dicom, which --dicom reads"),
        ("predict", "--run run --dicom dicom --out dicom/out", "write dicom/out in dicom, which --dicom reads"),
        ("predict", "--run run --dicom out/overlays/a --out out", "replaces what is in out/overlays"),
        ("predict", "--run run --dicom dicom --out run", "replace run, which --run reads"),
        ("predict", "--run run --dicom dicom --out run/out", "write run/out in run, which --run reads"),
        ("predict", "--run run --dicom dicom --out mine", "mine has overlays, predictions.csv, quarantine.csv of"),
        ("predict", "--run run --dicom dicom --out data", "data has left_out.csv, quarantine.csv of another origin"),
        ("export", "--run run --out run", "replace run, which --run reads"),
        ("export", "--run run --out run/model", "write run/model in run, which --run reads"),
        ("export", "--run run --dataset data --out data/model", "write data/model in data, which --dataset reads"),
        (
            "shard",
            "--dicom dicom --masks masks.csv --out mine",
            "mine has .build, quarantine.csv, samples.parquet of",
        ),
        ("ensemble", "--runs run other --dataset data --out run/submission.csv", "replace run/submission.csv, which"),
    ],
)
def test_it_is_refused(place: Path, command: str, words: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    before = state(place)
    code, out, errors = call(command, words.split())
    assert (code, out) == (2, ""), errors
    assert message in errors
    (line,) = errors.splitlines()
    assert "; expected an output " in line
    assert state(place) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: shutil.rmtree(run / "fold-1"), "has no finished fold 1; expected all 2 folds"),
        (lambda run: (run / "thresholds.json").write_text("{}"), "thresholds.json"),
    ],
)
def test_a_run_that_cannot_predict_is_refused_before_the_images_are_read(
    place: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    change(shutil.copytree(place / "run", tmp_path / "run"))
    words = ["--run", str(tmp_path / "run"), "--dicom", str(place / "missing"), "--out", str(tmp_path / "out")]
    code, _, errors = call("predict", words)
    assert (code, message in errors) == (2, True), errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["file", "file/dataset", "/proc/dataset"])
def test_a_dataset_that_cannot_be_written_is_refused_before_the_images_are_read(
    tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    code, _, errors = call("shard", ["--dicom", "missing", "--masks", "missing.csv", "--out", out])
    assert (code, f"{out}: " in errors) == (2, True), errors
    assert "expected a directory that can be written to; choose another --out" in errors
