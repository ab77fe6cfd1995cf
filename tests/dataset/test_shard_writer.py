"""One shard: its tar, its index, and the record that makes it count as written."""

import json
import tarfile
from pathlib import Path

import pytest
from build_data import OPTIONS, write_one

from pneumo.dataset import paths, shard_record, shard_writer
from pneumo.dataset.plan import PlannedSample, ShardPlan
from pneumo.dataset.scan import Source
from pneumo.dicom.rejection import FileRejectedError, Reason

NAME = "train-000000"


@pytest.fixture
def shard(tmp_path: Path) -> ShardPlan:
    """Three samples of 32 x 32 pixels: an empty mask, one of 40 pixels, and one that does not fit."""
    masks = {"1.2.1": "-1", "1.2.2": "0 40", "1.2.3": "1000 100"}
    samples = []
    for image_id, mask in masks.items():
        path = tmp_path / "in" / f"{image_id}.dcm"
        write_one(path, image_id)
        samples.append(
            PlannedSample(Source("train", path.parent, path.name), image_id, image_id.replace(".", "-"), 7, mask)
        )
    return ShardPlan(NAME, tuple(samples))


def test_record_has_a_row_or_a_reason_for_each_file(tmp_path: Path, shard: ShardPlan) -> None:
    assert not shard_record.is_done(tmp_path, shard)
    assert shard_writer.write(tmp_path, OPTIONS.conditions, {}, shard) == 3
    assert shard_record.is_done(tmp_path, shard)
    record = shard_record.read(tmp_path, shard)
    assert record.conditions == OPTIONS.conditions
    rows = record.rows.to_pylist()
    assert [(row["image_id"], row["mask_area"], row["positive"], row["patient"]) for row in rows] == [
        ("1.2.1", 0, False, 7), ("1.2.2", 40, True, 7),
    ]  # fmt: skip
    (row,) = record.quarantined
    assert (row.file, row.image_id, row.reason, row.phase) == ("1.2.3.dcm", "1.2.3", Reason.BAD_MASK, "mask")


def test_rows_have_the_places_of_their_members(tmp_path: Path, shard: ShardPlan) -> None:
    shard_writer.write(tmp_path, OPTIONS.conditions, {}, shard)
    content = paths.tar(tmp_path, NAME).read_bytes()
    with tarfile.open(paths.tar(tmp_path, NAME)) as archive:
        names = archive.getnames()
        description = json.loads(archive.extractfile("1-2-2.json").read())
    assert names == [f"1-2-{n}.{kind}" for n in (1, 2) for kind in ("jpg", "rle", "json")]
    row = shard_record.read(tmp_path, shard).rows.to_pylist()[1]
    assert content[row["rle_offset"] :][: row["rle_bytes"]] == b"0 40"
    assert content[row["offset"] :][:2] == b"\xff\xd8"
    assert description["image_id"] == "1.2.2"
    assert not {"patient_id", "patient"} & description.keys()
    assert paths.index(tmp_path, NAME).read_text().startswith("v1.2 2\njpg 512 ")


def test_crashing_files_are_not_opened_and_change_no_other_byte(tmp_path: Path, shard: ShardPlan) -> None:
    shard_writer.write(tmp_path / "without", OPTIONS.conditions, {}, ShardPlan(NAME, shard.samples[1:]))
    crashing = shard.samples[0].source
    crashing.path.unlink()
    rejection = FileRejectedError(Reason.CRASHED, "read", "found", "expected", "action")
    shard_writer.write(tmp_path / "out", OPTIONS.conditions, {crashing: rejection}, shard)
    record = shard_record.read(tmp_path / "out", shard)
    assert [row.reason for row in record.quarantined] == [Reason.CRASHED, Reason.BAD_MASK]
    assert paths.tar(tmp_path / "out", NAME).read_bytes() == paths.tar(tmp_path / "without", NAME).read_bytes()


def test_a_shard_without_samples_has_a_record_and_no_tar(tmp_path: Path, shard: ShardPlan) -> None:
    only_bad = ShardPlan(NAME, shard.samples[2:])
    assert shard_writer.write(tmp_path, OPTIONS.conditions, {}, only_bad) == 1
    assert shard_record.is_done(tmp_path, only_bad)
    assert not list(paths.shards(tmp_path).iterdir())
    assert len(shard_record.read(tmp_path, only_bad).rows) == 0


def test_a_shard_that_is_written_again_without_samples_leaves_no_file(tmp_path: Path, shard: ShardPlan) -> None:
    shard_writer.write(tmp_path, OPTIONS.conditions, {}, shard)
    rejection = FileRejectedError(Reason.CRASHED, "read", "found", "expected", "action")
    shard_writer.write(tmp_path, OPTIONS.conditions, {sample.source: rejection for sample in shard.samples}, shard)
    assert shard_record.is_done(tmp_path, shard)
    assert not list(paths.shards(tmp_path).iterdir())


def test_a_test_image_has_no_mask_member(tmp_path: Path) -> None:
    write_one(tmp_path / "x.dcm", "1.2.9")
    sample = PlannedSample(Source("test", tmp_path, "x.dcm"), "1.2.9", "1-2-9", -1, None)
    shard = ShardPlan("test-000000", (sample,))
    shard_writer.write(tmp_path, OPTIONS.conditions, {}, shard)
    (row,) = shard_record.read(tmp_path, shard).rows.to_pylist()
    assert (row["rle_offset"], row["rle_bytes"], row["rle_sha256"], row["mask_area"]) == (-1, 0, "", -1)
    with tarfile.open(paths.tar(tmp_path, "test-000000")) as archive:
        assert archive.getnames() == ["1-2-9.jpg", "1-2-9.json"]


def test_a_file_that_was_replaced_after_it_was_planned_gets_no_other_images_mask(tmp_path: Path) -> None:
    write_one(tmp_path / "x.dcm", "1.2.9")
    source = Source("train", tmp_path, "x.dcm")
    shard = ShardPlan(NAME, (PlannedSample(source, "1.2.8", "1-2-8", 7, "0 40", "1.2.8"),))
    shard_writer.write(tmp_path, OPTIONS.conditions, {}, shard)
    record = shard_record.read(tmp_path, shard)
    assert len(record.rows) == 0
    (row,) = record.quarantined
    assert (row.image_id, row.reason, row.phase) == ("1.2.8", Reason.NO_ID, "read")
    assert "replaced meanwhile" in row.found
    # With names as ids the file's own id says nothing.
    named = ShardPlan(NAME, (PlannedSample(source, "1.2.8", "1-2-8", 7, "0 40"),))
    shard_writer.write(tmp_path, OPTIONS.conditions, {}, named)
    assert len(shard_record.read(tmp_path, named).rows) == 1


def test_probe_survives_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "page.dcm").write_text("<html>")
    assert shard_writer.probe(Source("train", tmp_path, "page.dcm")) is None
