"""Plan and outcome of a build: what a finished dataset holds, by any number of workers and tasks."""

import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_data import OPTIONS, contents, rows, write_one

from pneumo.dataset import merge, paths
from pneumo.dataset.build import build
from pneumo.dataset.folds import digest
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.options import BuildInputs
from pneumo.dataset.table import SampleTable
from pneumo.dataset.workers import Pool
from pneumo.runtime.errors import UserError


def test_finished_dataset_has_the_files_and_counts_of_its_input(built: Path, tree) -> None:
    manifest, table = Manifest.read(built), SampleTable.read(built)
    assert (manifest.found, manifest.samples, manifest.train, manifest.test) == (29, 29, 24, 5)
    assert (manifest.quarantined, manifest.unlabeled, manifest.merged_duplicates, manifest.missing) == (0, 0, 0, 0)
    assert manifest.positive == sum(mask.any() for mask in tree.masks.values()) == 6
    assert manifest.patients == 12
    assert sorted(path.name for path in built.iterdir()) == sorted(
        [paths.MANIFEST, paths.SAMPLES, paths.QUARANTINE, paths.LEFT_OUT, paths.UNMATCHED, paths.SHARDS]
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
    assert manifest.folds_digest == digest(table.column("image_id"), table.fold)


def test_zip_archives_give_the_shards_of_the_files_in_them(built: Path, tree, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    files = sorted(path for path in tree.inputs.dicom.rglob("*") if path.is_file())
    for number in range(2):
        with zipfile.ZipFile(tmp_path / "train" / f"part-{number}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files[number::2]:
                archive.write(path, f"deep/{path.name}")
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as archive:
        for path in tree.inputs.test_dicom.rglob("*.dcm"):
            archive.write(path, path.name)
        archive.writestr("notes.txt", "not an image")
    inputs = replace(tree.inputs, dicom=tmp_path / "train", test_dicom=tmp_path / "test.zip")
    options = replace(OPTIONS, max_quarantined=50)
    manifest = build(inputs, tmp_path / "out", options)
    assert manifest is not None
    assert (manifest.found, manifest.samples, manifest.quarantined) == (30, 29, 1)
    (row,) = rows(tmp_path / "out" / paths.QUARANTINE)
    assert (row["split"], row["file"], row["reason"]) == ("test", "test.zip/notes.txt", "unknown_format")
    for path in paths.shards(built).iterdir():
        assert (paths.shards(tmp_path / "out") / path.name).read_bytes() == path.read_bytes()
    assert build(inputs, tmp_path / "out", options) == manifest
    os.utime(tmp_path / "test.zip", ns=(1, 1))
    with pytest.raises(UserError, match="a dataset of other files, masks or patients"):
        build(inputs, tmp_path / "out", options)


def test_no_patient_id_leaves_the_input(built: Path) -> None:
    for name, content in contents(built).items():
        # JPEG data may hold any bytes; the made-up ids all begin like this.
        assert b"secret" not in content, name


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_bytes(built: Path, tree, tmp_path: Path, workers: int) -> None:
    build(tree.inputs, tmp_path / "out", replace(OPTIONS, workers=workers))
    assert contents(tmp_path / "out") == contents(built)


def test_the_workers_have_ended_when_the_table_is_made(tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = list[int]()
    run, pools = merge.merge, list[Pool]()
    init = Pool.__init__
    monkeypatch.setattr(Pool, "__init__", lambda pool, *args: (pools.append(pool), init(pool, *args))[1])

    def count(*arguments: Any) -> Manifest | None:
        merged.append(len(pools[0]._workers))
        return run(*arguments)

    monkeypatch.setattr(merge, "merge", count)
    build(tree.inputs, tmp_path / "out", OPTIONS)
    assert merged == [0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_tasks_give_the_same_bytes_and_the_last_one_finishes(built: Path, tree, tmp_path: Path, order: tuple) -> None:
    results = [build(tree.inputs, tmp_path / "out", replace(OPTIONS, task=f"{task}/3")) for task in order]
    assert results[:2] == [None, None]
    assert results[2] == Manifest.read(built)
    assert contents(tmp_path / "out") == contents(built)


def test_more_tasks_than_shards(built: Path, tree, tmp_path: Path) -> None:
    options = replace(OPTIONS, workers=1)
    for task in range(10):
        build(tree.inputs, tmp_path / "out", replace(options, task=f"{task}/10"))
    assert contents(tmp_path / "out") == contents(built)


def test_finished_dataset_is_not_touched(tree, tmp_path: Path, built: Path) -> None:
    out = shutil.copytree(built, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    paths.build(out).mkdir()
    assert build(tree.inputs, out, OPTIONS) == Manifest.read(built)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_other_folds_rewrite_only_the_table(tree, tmp_path: Path, built: Path) -> None:
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


def test_other_input_into_a_finished_or_begun_dataset_is_refused(
    copied_inputs: BuildInputs, tmp_path: Path, built: Path
) -> None:
    write_one(copied_inputs.dicom / "more.dcm", "1.9.9")
    with pytest.raises(UserError, match=r": files found: 29 -> 30; without a mask: 0 -> 1;.*choose another --out"):
        build(copied_inputs, shutil.copytree(built, tmp_path / "finished"), OPTIONS)
    build(copied_inputs, tmp_path / "begun", replace(OPTIONS, task="0/2"))
    (copied_inputs.dicom / "more.dcm").unlink()
    with pytest.raises(UserError, match="an unfinished dataset of other files"):
        build(copied_inputs, tmp_path / "begun", OPTIONS)


def test_a_file_corrected_in_place_is_other_input_though_its_size_is_the_same(
    copied_inputs: BuildInputs, tmp_path: Path
) -> None:
    finished, begun = tmp_path / "finished", tmp_path / "begun"
    build(copied_inputs, finished, OPTIONS)
    build(copied_inputs, begun, replace(OPTIONS, task="0/2"))
    path = next(copied_inputs.dicom.rglob("*.498.5.dcm"))  # uncompressed: its last byte is a pixel
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 255]))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))
    for out in (finished, begun):
        with pytest.raises(UserError, match=r"of other files.*time of modification count.*choose another --out"):
            build(copied_inputs, out, OPTIONS)
    build(copied_inputs, tmp_path / "again", OPTIONS)
    digests = [Manifest.read(out).samples_digest for out in (finished, tmp_path / "again")]
    assert digests[0] != digests[1], "a run must not take the one for the other"


def test_a_copy_of_the_input_gives_the_dataset_that_a_run_recognizes(
    copied_inputs: BuildInputs, tmp_path: Path, built: Path
) -> None:
    for path in copied_inputs.dicom.rglob("*.dcm"):
        path.touch()
    manifest, original = build(copied_inputs, tmp_path / "out", OPTIONS), Manifest.read(built)
    assert manifest.digest != original.digest
    assert manifest == replace(original, digest=manifest.digest)


def test_without_masks_images_become_test_images(tree, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = build(BuildInputs(dicom=tree.inputs.dicom), tmp_path / "out", replace(OPTIONS, workers=1))
    assert (manifest.train, manifest.test, manifest.unlabeled) == (0, 24, 0)
    table = SampleTable.read(tmp_path / "out")
    assert (table.rle_offset == -1).all()
    assert not table.positive.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dicom": Path("/nowhere")}, "/nowhere: no such file"),
        ({"masks": Path("/nowhere.csv")}, "/nowhere.csv"),
        ({"patients": Path("/nowhere.csv")}, "/nowhere.csv"),
    ],
    ids=["dicom", "masks", "patients"],
)
def test_wrong_paths_are_errors_of_the_user(tree, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(replace(tree.inputs, **change), tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()


def test_out_that_is_a_file_is_refused(tmp_path: Path, tree) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="choose another --out"):
        build(tree.inputs, tmp_path / "out", OPTIONS)


def test_only_a_build_that_assigns_folds_imports_for_it_ahead(
    tree, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports: list[str] = []
    monkeypatch.setattr("pneumo.dataset.folds.import_ahead", lambda: imports.append("ahead"))
    shutil.copytree(built, tmp_path / "finished")
    build(tree.inputs, tmp_path / "finished", OPTIONS)
    build(replace(tree.inputs, masks=None, patients=None), tmp_path / "unlabeled", OPTIONS)
    build(tree.inputs, tmp_path / "tasks", replace(OPTIONS, task="0/2"))
    assert not imports
    build(tree.inputs, tmp_path / "whole", OPTIONS)
    assert imports == ["ahead"]
