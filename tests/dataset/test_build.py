import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from pneumo.dataset import paths
from pneumo.dataset.build import BuildInputs, BuildOptions, build
from pneumo.dataset.folds import digest
from pneumo.dataset.limits import Limits
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable
from pneumo.runtime import config
from pneumo.runtime.errors import UserError
from pneumo.synthetic.dicom_writer import write_dicom

OPTIONS = BuildOptions(workers=2, shard_size=4, num_folds=3)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "dataset"
    assert build(tree.inputs, out, OPTIONS) is not None
    return out


@pytest.fixture
def copy(tree, tmp_path: Path) -> BuildInputs:
    """A copy of the input that a test may damage."""
    root = shutil.copytree(tree.inputs.dicom.parent, tmp_path / "input")
    return BuildInputs(
        dicom=root / "train", test_dicom=root / "test", masks=root / "masks.csv", patients=root / "patients.csv"
    )


def write_one(path: Path, image_id: str, *, seed: int = 0, shape: tuple[int, int] = (32, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, shape, np.uint8)
    write_dicom(
        path, image, image_id=image_id, patient_id="p", view="AP", sex="M", age=50,
        spacing_mm=0.2, syntax="jpeg", photometric="MONOCHROME2",
    )  # fmt: skip


@dataclass
class Ended:
    """A Python process that has ended, its children perhaps not."""

    code: int
    group: int
    output: str


def run_script(script: str, *arguments: object, path: Path | None = None) -> Ended:
    """Run Python code in a session of its own, with ``path`` before everything else on the module path."""
    before = [str(path)] if path else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*before, *filter(None, sys.path)])}
    # Not a pipe: reading one would wait for the children too.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        code = process.wait(120)
        output.seek(0)
        return Ended(code, process.pid, output.read())


def test_finished_dataset_holds_what_the_layout_says(built: Path, tree) -> None:
    manifest, table = Manifest.read(built), SampleTable.read(built)
    assert (manifest.found, manifest.samples, manifest.train, manifest.test) == (29, 29, 24, 5)
    assert (manifest.quarantined, manifest.unlabelled, manifest.merged, manifest.missing) == (0, 0, 0, 0)
    assert manifest.positive == sum(mask.any() for mask in tree.masks.values()) == 6
    assert manifest.patients == 12
    assert sorted(path.name for path in built.iterdir()) == sorted(
        [paths.MANIFEST, paths.SAMPLES, paths.QUARANTINE, paths.UNMATCHED, paths.SHARDS]
    )
    assert sorted(path.name for path in paths.shards(built).iterdir()) == sorted(
        f"{name}.{kind}"
        for name in [*(f"train-{n:06d}" for n in range(6)), "test-000000", "test-000001"]
        for kind in ("tar", "idx")
    )
    assert table.split.tolist() == ["train"] * 24 + ["test"] * 5
    assert rows(built / paths.QUARANTINE) == rows(built / paths.UNMATCHED) == []


def test_table_has_the_masks_the_patients_and_the_folds(built: Path, tree) -> None:
    table, manifest = SampleTable.read(built), Manifest.read(built)
    for row in table.select("train"):
        assert table.mask_area[row] == tree.masks[table.image_id[row]].sum()
        assert table.positive[row] == (table.mask_area[row] > 0)
    assert set(table.fold[table.select("train")].tolist()) == {0, 1, 2}
    assert (table.fold[table.select("test")] == -1).all()
    assert (table.mask_area[table.select("test")] == -1).all()
    by_patient: dict[str, set[int]] = {}
    for row in range(len(table)):
        by_patient.setdefault(tree.patients[table.image_id[row]], set()).add(int(table.patient[row]))
    assert all(len(numbers) == 1 for numbers in by_patient.values())
    for patient in np.unique(table.patient):
        assert len(np.unique(table.fold[(table.patient == patient) & (table.fold >= 0)])) <= 1
    assert manifest.folds_digest == digest(table.image_id, table.fold)


def test_no_patient_id_leaves_the_input(built: Path) -> None:
    for name, content in contents(built).items():
        # JPEG data may hold any bytes; the made-up ids all begin like this.
        assert b"secret" not in content, name


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_bytes(built: Path, tree, tmp_path: Path, workers: int) -> None:
    build(tree.inputs, tmp_path / "out", replace(OPTIONS, workers=workers))
    assert contents(tmp_path / "out") == contents(built)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_tasks_give_the_same_bytes_and_the_last_one_finishes(built: Path, tree, tmp_path: Path, order: tuple) -> None:
    results = [build(tree.inputs, tmp_path / "out", replace(OPTIONS, task=task, tasks=3)) for task in order]
    assert results[:2] == [None, None]
    assert results[2] == Manifest.read(built)
    assert contents(tmp_path / "out") == contents(built)


def test_more_tasks_than_shards(built: Path, tree, tmp_path: Path) -> None:
    options = replace(OPTIONS, workers=1)
    for task in range(10):
        build(tree.inputs, tmp_path / "out", replace(options, task=task, tasks=10))
    assert contents(tmp_path / "out") == contents(built)


KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from pneumo.dataset import build
from pneumo.dataset.manifest import Manifest

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Progress(build.Progress):
    def step(self, count=1, note=""):
        super().step(count, note)
        if self.what == "shards" and self.done >= 8:
            die()

if sys.argv[2] == "shards":
    build.Progress = Progress
else:
    Manifest.write = die
root = Path(sys.argv[1])
inputs = build.BuildInputs(
    dicom=root / "train", test_dicom=root / "test", masks=root / "masks.csv", patients=root / "patients.csv"
)
options = build.BuildOptions(workers=2, shard_size=4, num_folds=3, max_quarantined=10, limits=build.Limits(seconds=10))
build.build(inputs, Path(sys.argv[3]), options)
"""


@pytest.mark.parametrize("stage", ["shards", "merge"])
def test_killed_build_goes_on_to_the_same_bytes(built: Path, tree, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "out"
    ended = run_script(KILLED_AFTER, tree.inputs.dicom.parent, stage, out)
    assert ended.code == -signal.SIGKILL, ended.output
    assert not paths.manifest(out).exists()
    done = {path: path.stat().st_mtime_ns for path in paths.build(out).glob("*-*.json")}
    assert len(done) >= 2
    # What a worker killed in the middle of a shard leaves behind.
    (paths.shards(out) / ".train-000003.tar.x1_abc9z").write_bytes(b"half")
    with pytest.raises(UserError, match="not finished"):
        SampleTable.read(out)
    shards = {path: paths.tar(out, path.stem).stat().st_ino for path in done}
    build(tree.inputs, out, OPTIONS)
    assert contents(out) == contents(built)
    assert {path: paths.tar(out, path.stem).stat().st_ino for path in done} == shards, "finished shards were rewritten"


def test_workers_end_with_the_parent(tree, tmp_path: Path) -> None:
    group = run_script(KILLED_AFTER, tree.inputs.dicom.parent, "shards", tmp_path / "out").group
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlived the build")


SITE = """
import os
from pneumo.dicom import reader

def deadly(function):
    def wrapper(path):
        if path.name.startswith("deadly-" + function.__name__):
            os._exit(139)
        return function(path)
    return wrapper

reader.scan, reader.read = deadly(reader.scan), deadly(reader.read)
"""


SITE_OF_MEMORY = """
import os, signal
from pathlib import Path
from pneumo.dataset import shard_writer

write = shard_writer.write

def killed(dataset, deadly, item):
    marks = len(list(Path("FOLDER").glob("death-*")))
    if item.name == "train-000001" and marks < DEATHS:
        (Path("FOLDER") / f"death-{marks}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return write(dataset, deadly, item)

killed.__module__, killed.__qualname__ = "pneumo.dataset.shard_writer", "write"
shard_writer.write = killed
"""
"""The kernel's memory killer takes the writer of one shard, whatever file it is at."""

SITE_OF_HANGING = """
import ctypes
from pneumo.dicom import reader

read = reader.read

def hanging(path):
    if path.name.endswith(".498.5.dcm"):
        ctypes.PyDLL(None).sleep(100_000)
    return read(path)

reader.read = hanging
"""
"""A decoder that never returns from one file, with the interpreter's lock held."""


def test_file_that_ends_its_process_costs_itself_alone(copy: BuildInputs, tmp_path: Path) -> None:
    write_one(copy.dicom / "deadly-scan.dcm", "1.9.1")
    write_one(copy.dicom / "deadly-read.dcm", "1.9.2")
    with copy.masks.open("a") as file:
        file.write("1.9.2, -1\n")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    script = KILLED_AFTER.replace("Manifest.write = die", "pass")
    ended = run_script(script, copy.dicom.parent, "live", tmp_path / "out", path=tmp_path / "site")
    assert ended.code == 0, ended.output
    manifest = Manifest.read(tmp_path / "out")
    assert (manifest.found, manifest.samples, manifest.quarantined) == (31, 29, 2)
    refused = rows(tmp_path / "out" / paths.QUARANTINE)
    assert [row["file"] for row in refused] == ["deadly-read.dcm", "deadly-scan.dcm"]
    assert {row["found"] for row in refused} == {"the process that read it ended with exit code 139"}


def test_finished_dataset_is_kept(tree, tmp_path: Path, built: Path) -> None:
    out = shutil.copytree(built, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    paths.build(out).mkdir()
    assert build(tree.inputs, out, OPTIONS) == Manifest.read(built)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_other_folds_rewrite_the_table_alone(tree, tmp_path: Path, built: Path) -> None:
    out = shutil.copytree(built, tmp_path / "out")
    before = contents(out)
    manifest = build(tree.inputs, out, replace(OPTIONS, num_folds=4))
    changed = {name for name, content in contents(out).items() if content != before[name]}
    assert changed == {paths.SAMPLES, paths.MANIFEST}
    assert manifest.num_folds == 4
    assert manifest.digest == Manifest.read(built).digest
    assert manifest.folds_digest != Manifest.read(built).folds_digest
    table = SampleTable.read(out)
    assert set(table.fold[table.select("train")].tolist()) == {0, 1, 2, 3}
    build(tree.inputs, out, OPTIONS)
    assert contents(out) == before


def test_table_written_without_its_manifest_is_mended(tree, tmp_path: Path, built: Path) -> None:
    out = shutil.copytree(built, tmp_path / "out")
    table = SampleTable.read(out)
    replace(table, fold=np.where(table.fold >= 0, 0, -1).astype(np.int8)).write(out)
    build(tree.inputs, out, OPTIONS)
    assert contents(out) == contents(built)


def test_other_input_into_a_finished_or_begun_dataset_is_refused(
    copy: BuildInputs, tmp_path: Path, built: Path
) -> None:
    write_one(copy.dicom / "more.dcm", "1.9.9")
    with pytest.raises(UserError, match=r"a dataset of other files, masks or patients.*choose another --out"):
        build(copy, shutil.copytree(built, tmp_path / "finished"), OPTIONS)
    build(copy, tmp_path / "begun", replace(OPTIONS, task=0, tasks=2))
    (copy.dicom / "more.dcm").unlink()
    with pytest.raises(UserError, match="an unfinished dataset of other files"):
        build(copy, tmp_path / "begun", OPTIONS)


def test_where_every_odd_file_goes(copy: BuildInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = next(copy.dicom.rglob("*.dcm"))
    second = sorted(copy.dicom.rglob("*.dcm"))[1]
    (copy.dicom / "a" / "b").mkdir(parents=True)
    shutil.copy(first, copy.dicom / "a" / "b" / "twin")
    write_one(copy.dicom / "other.dcm", second.stem, seed=5)
    write_one(copy.dicom / "unlabelled.dcm", "1.9.1")
    write_one(copy.dicom / "small.dcm", "1.9.2")
    (copy.dicom / "429.dcm").write_text('{"code": 429}')
    (copy.dicom / ".hidden").write_text("x")
    with copy.masks.open("a") as file:
        file.write("1.9.2, 1000 100\n1.9.3, -1\n")
    out = copy.dicom / "dataset"
    options = replace(OPTIONS, max_quarantined=100)
    manifest = build(replace(copy, masks=copy.masks.rename(copy.dicom / "masks.csv")), out, options)
    assert manifest.found == 29 + 6
    assert (manifest.samples, manifest.quarantined, manifest.unlabelled, manifest.merged) == (28, 5, 1, 1)
    assert {row["file"]: row["reason"] for row in rows(out / paths.QUARANTINE)} == {
        ".hidden": "not_dicom",
        "429.dcm": "not_dicom",
        "other.dcm": "duplicate",
        second.relative_to(copy.dicom).as_posix(): "duplicate",
        "small.dcm": "bad_mask",
    }
    bad_mask = next(row for row in rows(out / paths.QUARANTINE) if row["file"] == "small.dcm")
    assert "ends at pixel 1100, beyond the image's 1024 pixels (32 x 32)" in bad_mask["found"]
    assert bad_mask["image_id"] == "1.9.2"
    assert rows(out / paths.UNMATCHED) == [
        {"image_id": "1.9.1", "file": "unlabelled.dcm", "reason": "no_row"},
        {"image_id": "1.9.3", "file": "", "reason": "no_file"},
    ]
    # Its own output and the CSV lie inside the input; the second run must not count them.
    assert build(replace(copy, masks=copy.dicom / "masks.csv"), out, options) == manifest


def test_damage_found_while_writing_leaves_a_gap_in_the_shards(copy: BuildInputs, tmp_path: Path) -> None:
    victims = sorted(copy.test_dicom.rglob("*.dcm"), key=lambda path: dcmread(path).SOPInstanceUID)[:4]
    for path in victims:
        path.write_bytes(path.read_bytes()[:-400])
    manifest = build(copy, tmp_path / "out", replace(OPTIONS, max_quarantined=100))
    assert (manifest.test, manifest.quarantined, manifest.shards) == (1, 4, 7)
    assert not paths.tar(tmp_path / "out", "test-000000").exists()
    assert paths.tar(tmp_path / "out", "test-000001").exists()


def test_without_masks_images_become_test_images(tree, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = build(BuildInputs(dicom=tree.inputs.dicom), tmp_path / "out", replace(OPTIONS, workers=1))
    assert (manifest.train, manifest.test, manifest.unlabelled) == (0, 24, 0)
    table = SampleTable.read(tmp_path / "out")
    assert (table.rle_offset == -1).all()
    assert not table.positive.any()


@pytest.mark.parametrize(
    ("patients", "message", "grouped_by"),
    [("csv", None, "patients csv"), ("shared", "told apart by PatientID", "dicom"), ("own", "folds may leak", "dicom")],
)
def test_what_is_said_of_patients(
    make_tree, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    patients: str, message: str | None, grouped_by: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    made = make_tree(train=6, test=0)
    if patients == "own":
        for number, path in enumerate(sorted(made.inputs.dicom.rglob("*.dcm"))):
            data = path.read_bytes()
            place = data.index(b"secret-")
            path.write_bytes(data[: place + 7] + str(number).encode() + data[place + 8 :])
    inputs = made.inputs if patients == "csv" else replace(made.inputs, patients=None)
    manifest = build(inputs, tmp_path / "out", replace(OPTIONS, workers=1))
    assert manifest.grouped_by == grouped_by
    if message is None:
        assert "no patients CSV" not in caplog.text
    else:
        assert message in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dicom": Path("/nowhere")}, "/nowhere: no such file"),
        ({"masks": Path("/nowhere.csv")}, "/nowhere.csv"),
        ({"patients": Path("/nowhere.csv")}, "/nowhere.csv"),
    ],
    ids=["dicom", "masks", "patients"],
)
def test_wrong_paths_are_the_users_to_mend(tree, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(replace(tree.inputs, **change), tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()


def test_nothing_to_build_says_what_was_found(tmp_path: Path, tree) -> None:
    (tmp_path / "in").mkdir()
    inputs = replace(tree.inputs, dicom=tmp_path / "in", test_dicom=None)
    with pytest.raises(UserError, match=r"nothing to build from 0 files \(no file at all\)"):
        build(inputs, tmp_path / "out", OPTIONS)
    (tmp_path / "in" / "page.dcm").write_text("<html>")
    write_one(tmp_path / "in" / "x.dcm", "1.9.9")
    with pytest.raises(UserError, match=r"from 2 files \(1 not_dicom, 1 no row in the masks CSV\)"):
        build(inputs, tmp_path / "out", OPTIONS)


def test_out_that_is_a_file_is_refused(tmp_path: Path, tree) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="choose another --out"):
        build(tree.inputs, tmp_path / "out", OPTIONS)


def test_full_disk_is_the_users_to_mend(tmp_path: Path, tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SampleTable, "write", full)
    with pytest.raises(UserError, match=r"No space left on device.*start the same command again"):
        build(tree.inputs, tmp_path / "out", OPTIONS)
    monkeypatch.undo()
    assert build(tree.inputs, tmp_path / "out", OPTIONS) is not None


def test_test_images_that_are_training_images_are_told(
    tree, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    copied = shutil.copytree(tree.inputs.dicom, tmp_path / "again")
    manifest = build(replace(tree.inputs, test_dicom=copied), tmp_path / "out", replace(OPTIONS, workers=1))
    assert (manifest.train, manifest.test, manifest.merged) == (24, 24, 0)
    assert "24 test images are training images too" in caplog.text


@pytest.mark.parametrize(
    "change",
    [{"num_folds": 1}, {"num_folds": 128}, {"workers": 0}, {"task": 3, "tasks": 3}, {"task": -1}, {"seed": -1}],
    ids=str,
)
def test_options_are_checked(change: dict) -> None:
    with pytest.raises(UserError, match=config.flag(next(iter(change)))):
        replace(OPTIONS, **change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(OPTIONS, max_quarantined=-1), "--max-quarantined -1; expected 0 to 100"),
        (lambda: replace(OPTIONS, max_quarantined=101), "--max-quarantined 101; expected 0 to 100"),
        (lambda: replace(OPTIONS, max_quarantined=float("nan")), "--max-quarantined nan; expected a finite number"),
        (lambda: Limits(seconds=0), "--seconds 0; expected 0.1 to 86400"),
        (lambda: Limits(gib=-1), "--gib -1; expected 0.01 to 1024"),
    ],
    ids=["negative share", "share above 100", "no number", "no time", "negative memory"],
)
def test_limits_are_checked(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def damage(copy: BuildInputs, files: int) -> None:
    for path in sorted(copy.test_dicom.rglob("*.dcm"))[:files]:
        path.write_bytes(path.read_bytes()[:-400])


def test_the_merging_task_alone_knows_the_share_and_finished_shards_stay(copy: BuildInputs, tmp_path: Path) -> None:
    damage(copy, 4)
    out, whole = tmp_path / "out", tmp_path / "whole"
    tasks = [replace(OPTIONS, task=task, tasks=3) for task in range(3)]
    assert build(copy, out, tasks[2]) is None
    assert build(copy, out, tasks[0]) is None
    for options in (tasks[1], tasks[1], OPTIONS):
        with pytest.raises(
            UserError, match=r"4 of 29 files \(13.8 %\) are quarantined: 4 bad_frame; expected at most 5 %"
        ):
            build(copy, out, options)
        assert len(rows(out / paths.QUARANTINE)) == 4
        assert not paths.manifest(out).exists()
        assert not paths.samples(out).exists()
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths.shards(out).iterdir()}
    manifest = build(copy, out, replace(tasks[0], max_quarantined=14))
    assert manifest is not None
    assert (manifest.samples, manifest.quarantined) == (25, 4)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths.shards(out).iterdir()} == before
    build(copy, whole, replace(OPTIONS, max_quarantined=100))
    assert contents(out) == contents(whole)


def test_bad_headers_alone_that_are_too_many_are_told_before_the_work(
    copy: BuildInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    for number in range(3):
        (copy.dicom / f"{number}.dcm").touch()
    with pytest.raises(UserError, match="3 of 32 files"):
        build(copy, tmp_path / "out", OPTIONS)
    assert (
        "3 of 32 files are quarantined by their headers alone (3 empty_file): with --max-quarantined 5" in caplog.text
    )


def test_nothing_to_build_touches_no_other_dataset(built: Path, tree, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "page.dcm").write_text("<html>")
    out = shutil.copytree(built, tmp_path / "out")
    with pytest.raises(UserError, match="a dataset of other files"):
        build(replace(tree.inputs, dicom=tmp_path / "in", test_dicom=None), out, OPTIONS)
    assert contents(out) == contents(built)


def test_shard_whose_process_dies_of_no_file_is_begun_again_and_then_told(tree, tmp_path: Path) -> None:
    script = KILLED_AFTER.replace("Manifest.write = die", "pass")
    for deaths in (2, 99):
        folder = tmp_path / str(deaths)
        folder.mkdir()
        site = SITE_OF_MEMORY.replace("FOLDER", str(folder)).replace("DEATHS", str(deaths))
        (folder / "sitecustomize.py").write_text(site)
        ended = run_script(script, tree.inputs.dicom.parent, "live", folder / "out", path=folder)
        if deaths == 2:
            assert ended.code == 0, ended.output
            assert Manifest.read(folder / "out").quarantined == 0
        else:
            assert ended.code == 1
            assert "the process that wrote train-000001 died 3 times, and no file of it alone ends" in ended.output
            assert "try fewer workers" in ended.output


def test_killed_while_a_file_hangs_leaves_no_process_and_goes_on(built: Path, tree, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE_OF_HANGING)
    out = tmp_path / "out"
    ended = run_script(KILLED_AFTER, tree.inputs.dicom.parent, "shards", out, path=tmp_path)
    assert ended.code == -signal.SIGKILL, ended.output
    deadline = time.monotonic() + 60
    while True:
        try:
            os.killpg(ended.group, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline, "the hanging worker outlived the build"
        time.sleep(0.05)
    build(tree.inputs, out, OPTIONS)
    assert contents(out) == contents(built)
