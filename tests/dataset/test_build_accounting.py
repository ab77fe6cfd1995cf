"""Where every file goes: samples, the quarantine and its bound, unlabeled files and duplicates."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from build_data import OPTIONS, contents, rows, write_one
from pydicom import dcmread

from pneumo.dataset import paths, quarantine
from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs
from pneumo.dataset.table import SampleTable
from pneumo.runtime.errors import UserError


def test_every_odd_file_is_accounted_for(
    copied_inputs: BuildInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = next(copied_inputs.dicom.rglob("*.dcm"))
    second = sorted(copied_inputs.dicom.rglob("*.dcm"))[1]
    (copied_inputs.dicom / "a" / "b").mkdir(parents=True)
    shutil.copy(first, copied_inputs.dicom / "a" / "b" / "twin")
    write_one(copied_inputs.dicom / "other.dcm", second.stem, seed=5)
    write_one(copied_inputs.dicom / "unlabeled.dcm", "1.9.1")
    write_one(copied_inputs.dicom / "small.dcm", "1.9.2")
    (copied_inputs.dicom / "429.dcm").write_text('{"code": 429}')
    (copied_inputs.dicom / ".hidden").write_text("x")
    with copied_inputs.masks.open("a") as file:
        file.write("1.9.2, 1000 100\n1.9.3, -1\n")
    out = copied_inputs.dicom / "dataset"
    options = replace(OPTIONS, max_quarantined=100)
    manifest = build(
        replace(copied_inputs, masks=copied_inputs.masks.rename(copied_inputs.dicom / "masks.csv")), out, options
    )
    assert manifest.found == 29 + 6
    assert (manifest.samples, manifest.quarantined, manifest.unlabeled, manifest.merged_duplicates) == (28, 5, 1, 1)
    assert {row["file"]: row["reason"] for row in rows(out / paths.QUARANTINE)} == {
        ".hidden": "unknown_format",
        "429.dcm": "unknown_format",
        "other.dcm": "duplicate",
        second.relative_to(copied_inputs.dicom).as_posix(): "duplicate",
        "small.dcm": "bad_mask",
    }
    bad_mask = next(row for row in rows(out / paths.QUARANTINE) if row["file"] == "small.dcm")
    assert "ends at pixel 1100, beyond the image's 1024 pixels (32 x 32)" in bad_mask["found"]
    assert bad_mask["image_id"] == "1.9.2"
    assert rows(out / paths.UNMATCHED) == [
        {"image_id": "1.9.1", "file": "unlabeled.dcm", "reason": "no_row"},
        {"image_id": "1.9.3", "file": "", "reason": "no_file"},
    ]
    # Its own output and the CSV lie inside the input; the second run must not count them.
    assert build(replace(copied_inputs, masks=copied_inputs.dicom / "masks.csv"), out, options) == manifest


def write_as(path: Path, image_id: str, **elements: str) -> None:
    write_one(path, image_id)
    dataset = dcmread(path)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_images_that_are_no_frontal_chest_x_rays_are_left_out_unless_asked_for(
    copied_inputs: BuildInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    write_as(copied_inputs.dicom / "ct.dcm", "1.9.1", Modality="CT")
    write_as(copied_inputs.dicom / "lateral.dcm", "1.9.2", ViewPosition="LATERAL")
    write_as(copied_inputs.test_dicom / "knee.dcm", "1.9.3", BodyPartExamined="L KNEE")
    write_as(copied_inputs.test_dicom / "raw.dcm", "1.9.4", PresentationIntentType="FOR PROCESSING")
    write_as(copied_inputs.test_dicom / "raw-too.dcm", "1.9.5", PresentationIntentType="FOR PROCESSING")
    with copied_inputs.masks.open("a") as file:
        file.write("1.9.1, -1\n1.9.2, 0 9\n")
    manifest = build(copied_inputs, tmp_path / "out", OPTIONS)
    assert (manifest.found, manifest.samples, manifest.left_out, manifest.missing) == (34, 29, 5, 0)
    assert (
        "left out: 5 images are no frontal chest X-rays (2 FOR PROCESSING, 1 modality CT, 1 view LATERAL, "
        "1 body part KNEE); left_out.csv lists them, --include-non-frontal takes them"
    ) in caplog.text
    assert rows(tmp_path / "out" / paths.LEFT_OUT) == [
        {"split": split, "file": file, "image_id": image_id, "reason": reason}
        for split, file, image_id, reason in (
            ("train", "ct.dcm", "1.9.1", "modality CT"),
            ("train", "lateral.dcm", "1.9.2", "view LATERAL"),
            ("test", "knee.dcm", "1.9.3", "body part KNEE"),
            ("test", "raw-too.dcm", "1.9.5", "FOR PROCESSING"),
            ("test", "raw.dcm", "1.9.4", "FOR PROCESSING"),
        )
    ]
    with pytest.raises(UserError, match="a dataset that was built without --include-non-frontal;"):
        build(copied_inputs, tmp_path / "out", replace(OPTIONS, include_non_frontal=True))
    manifest = build(copied_inputs, tmp_path / "all", replace(OPTIONS, include_non_frontal=True))
    assert (manifest.samples, manifest.left_out) == (34, 0)
    table = SampleTable.read(tmp_path / "all")
    said = zip(table.modality, table.body_part, table.view, table.presentation_intent, strict=True)
    odd = dict(zip(table.image_id.tolist(), said, strict=True))
    assert odd["1.9.1"] == ("CT", "CHEST", "AP", "")
    assert odd["1.9.2"] == ("CR", "CHEST", "LATERAL", "")
    assert odd["1.9.3"] == ("CR", "KNEE", "AP", "")
    assert odd["1.9.4"] == ("CR", "CHEST", "AP", "FOR PROCESSING")
    copied_inputs.masks.write_text("ImageId, EncodedPixels\n1.9.1, -1\n")
    with pytest.raises(
        UserError,
        match=r"no usable image in 1 file \(1 modality CT\); .*; check --dicom and --masks, and see \S+/left_out.csv"
        r"; --include-non-frontal takes the images of left_out.csv$",
    ):
        build(replace(copied_inputs, dicom=copied_inputs.dicom / "ct.dcm", test_dicom=None), tmp_path / "ct", OPTIONS)


def test_damage_found_while_writing_leaves_a_gap_in_the_shards(copied_inputs: BuildInputs, tmp_path: Path) -> None:
    victims = sorted(copied_inputs.test_dicom.rglob("*.dcm"), key=lambda path: dcmread(path).SOPInstanceUID)[:4]
    for path in victims:
        path.write_bytes(path.read_bytes()[:-400])
    manifest = build(copied_inputs, tmp_path / "out", replace(OPTIONS, max_quarantined=100))
    assert (manifest.test, manifest.quarantined, manifest.shards) == (1, 4, 7)
    assert not paths.tar(tmp_path / "out", "test-000000").exists()
    assert paths.tar(tmp_path / "out", "test-000001").exists()


def test_nothing_to_build_is_an_error_with_what_was_found(tmp_path: Path, tree) -> None:
    (tmp_path / "in").mkdir()
    inputs = replace(tree.inputs, dicom=tmp_path / "in", test_dicom=None)
    with pytest.raises(UserError, match="no usable image in 0 files; expected images with a row in the masks CSV"):
        build(inputs, tmp_path / "out", OPTIONS)
    (tmp_path / "in" / "page.dcm").write_text("<html>")
    write_one(tmp_path / "in" / "x.dcm", "1.9.9")
    with pytest.raises(UserError, match=r"no usable image in 2 files \(1 unknown_format, 1 no row in the masks CSV\)"):
        build(inputs, tmp_path / "out", OPTIONS)


def test_two_tasks_find_nothing_to_build(tmp_path: Path, tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each removes what is begun."""
    write_one(tmp_path / "in" / "x.dcm", "1.9.9")
    write = quarantine.write

    def write_and_be_overtaken(out: Path, *more: object) -> None:
        write(out, *more)
        shutil.rmtree(paths.build(out))

    monkeypatch.setattr(quarantine, "write", write_and_be_overtaken)
    inputs = replace(tree.inputs, dicom=tmp_path / "in", test_dicom=None)
    with pytest.raises(UserError, match="no usable image in 1 file"):
        build(inputs, tmp_path / "out", replace(OPTIONS, task="0/2"))


def damage(copied_inputs: BuildInputs, files: int) -> None:
    for path in sorted(copied_inputs.test_dicom.rglob("*.dcm"))[:files]:
        path.write_bytes(path.read_bytes()[:-400])


def test_only_the_merging_task_knows_the_percentage_and_finished_shards_stay(
    copied_inputs: BuildInputs, tmp_path: Path
) -> None:
    damage(copied_inputs, 4)
    out, whole = tmp_path / "out", tmp_path / "whole"
    tasks = [replace(OPTIONS, task=f"{task}/3") for task in range(3)]
    assert build(copied_inputs, out, tasks[2]) is None
    assert build(copied_inputs, out, tasks[0]) is None
    for options in (tasks[1], tasks[1], OPTIONS):
        with pytest.raises(UserError, match=r"4 of 29 files \(13.8 %\) quarantined: 4 bad_frame; expected at most 5 %"):
            build(copied_inputs, out, options)
        assert len(rows(out / paths.QUARANTINE)) == 4
        assert not paths.manifest(out).exists()
        assert not paths.samples(out).exists()
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths.shards(out).iterdir()}
    manifest = build(copied_inputs, out, replace(tasks[0], max_quarantined=14))
    assert manifest is not None
    assert (manifest.samples, manifest.quarantined) == (25, 4)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths.shards(out).iterdir()} == before
    build(copied_inputs, whole, replace(OPTIONS, max_quarantined=100))
    assert contents(out) == contents(whole)


def test_too_many_bad_headers_are_logged_before_the_work(
    copied_inputs: BuildInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    for number in range(3):
        (copied_inputs.dicom / f"{number}.dcm").touch()
    with pytest.raises(UserError, match="3 of 32 files"):
        build(copied_inputs, tmp_path / "out", OPTIONS)
    assert "3 of 32 files quarantined by the header alone (3 empty_file): with --max-quarantined 5" in caplog.text


def test_nothing_to_build_leaves_another_dataset_untouched(built: Path, tree, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "page.dcm").write_text("<html>")
    out = shutil.copytree(built, tmp_path / "out")
    with pytest.raises(UserError, match="a dataset that was built with --test-dicom; expected the same flags"):
        build(replace(tree.inputs, dicom=tmp_path / "in", test_dicom=None), out, OPTIONS)
    assert contents(out) == contents(built)
