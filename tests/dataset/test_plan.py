from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pneumo.dataset.plan import BuildPlan, make
from pneumo.dataset.scan import QuarantineRow, ScannedFile, Source
from pneumo.dicom.opening import unreadable
from pneumo.dicom.rejection import Reason


def scanned(image_id: str, *, split: str = "train", file: str = "", patient: str = "") -> ScannedFile:
    file = file or f"{image_id}.dcm"
    return ScannedFile(Source(split, Path("/in"), file), image_id, patient, Path(file).stem, 10, 99)


def bad(file: str) -> QuarantineRow:
    return QuarantineRow("train", file, "", Reason.UNKNOWN_FORMAT, "header", "text", "DICOM", "leave it out")


def samples(plan: BuildPlan) -> list:
    return [sample for shard in plan.shards for sample in shard.samples]


ALIKE: Callable[[Path], str] = lambda path: "same"  # noqa: E731
OTHER: Callable[[Path], str] = str


def test_every_file_is_counted_once() -> None:
    files = [
        scanned("a"),
        scanned("b"),
        scanned("b", file="copy.dcm"),
        scanned("c"),
        scanned("d", split="test"),
        bad("readme"),
    ]
    plan = make(files, {"a": "-1", "b": "1 2", "gone": "-1"}, None, file_digest=ALIKE)
    assert plan.found == 6
    assert [sample.image_id for sample in samples(plan)] == ["a", "b", "d"]
    assert [item.image_id for item in plan.unlabeled] == ["c"]
    assert plan.quarantined == (bad("readme"),)
    assert plan.merged_duplicates == 1
    assert plan.missing == ("gone",)
    assert plan.found == len(samples(plan)) + len(plan.quarantined) + len(plan.unlabeled) + plan.merged_duplicates


def test_shards_are_fixed_counts_in_the_order_of_ids_whatever_the_order_of_scanning() -> None:
    files = [scanned(str(n), file=f"{9 - n}/x.dcm") for n in range(5)] + [scanned("t", split="test")]
    masks = {str(n): "-1" for n in range(5)}
    plan = make(files, masks, None, shard_size=2)
    assert [(shard.name, [sample.image_id for sample in shard.samples]) for shard in plan.shards] == [
        ("train-000000", ["0", "1"]),
        ("train-000001", ["2", "3"]),
        ("train-000002", ["4"]),
        ("test-000000", ["t"]),
    ]
    assert make(files[::-1], masks, None, shard_size=2) == plan


def test_contradicting_duplicates_are_all_quarantined_and_name_each_other() -> None:
    files = [scanned("a", file="1"), scanned("a", file="2"), scanned("a", file="3"), scanned("b")]
    plan = make(files, {"a": "-1", "b": "-1"}, None, file_digest=OTHER)
    assert [(item.file, item.reason, item.image_id) for item in plan.quarantined] == [
        (name, Reason.DUPLICATE, "a") for name in "123"
    ]
    assert "also 1" in plan.quarantined[1].found
    assert plan.missing == ()
    assert [sample.image_id for sample in samples(plan)] == ["b"]


def test_of_copies_that_were_cut_off_the_whole_one_is_kept(tmp_path: Path) -> None:
    contents = {"cut": b"abc", "whole": b"abcdef", "copy": b"abcdef", "cut too": b"abcde"}

    def on_disk(name: str, content: bytes) -> ScannedFile:
        (tmp_path / name).write_bytes(content)
        return ScannedFile(Source("train", tmp_path, name), "a", "", name, len(content), 99)

    files = [on_disk(name, content) for name, content in contents.items()]
    plan = make(files, {"a": "-1"}, None)
    assert [sample.source.file for sample in samples(plan)] == ["copy"]
    assert plan.merged_duplicates == 1
    assert [(row.file, row.reason, row.found) for row in plan.quarantined] == [
        ("cut", Reason.DUPLICATE, "the first 3 of 6 bytes of copy"),
        ("cut too", Reason.DUPLICATE, "the first 5 of 6 bytes of copy"),
    ]
    # Another file with the id: nobody can tell which is the right one.
    plan = make([*files, on_disk("other", b"abd")], {"a": "-1"}, None)
    assert all("different bytes" in row.found for row in plan.quarantined)
    assert (len(plan.quarantined), samples(plan)) == (5, [])


def test_duplicates_by_their_names_are_not_offered_another_id() -> None:
    files = [replace(scanned("a", file=name), stem="a", is_picture=True) for name in ("1/a.png", "2/a.png")]
    plan = make(files, {"a": "-1"}, None, file_digest=OTHER)
    assert (len(plan.quarantined), plan.named_otherwise) == (2, 0)
    assert "rename them" in plan.quarantined[0].action


def test_a_file_without_an_id_is_quarantined_unless_its_name_is_the_id() -> None:
    files = [scanned("1.2"), replace(scanned("", file="a.dcm"), id_problem="no SOP Instance UID")]
    plan = make(files, {"1.2": "-1", "a": "-1"}, None)
    (row,) = plan.quarantined
    assert (row.file, row.reason, row.phase, row.image_id) == ("a.dcm", Reason.NO_ID, "header", "")
    assert (row.found, plan.named_otherwise) == ("no SOP Instance UID", 1)
    assert plan.found == 2
    by_name = make(files, {"1.2": "-1", "a": "-1"}, None, id_source="file-name")
    assert [sample.image_id for sample in samples(by_name)] == ["1.2", "a"]
    assert by_name.quarantined == ()


def test_identical_duplicates_keep_the_first_path() -> None:
    plan = make([scanned("a", file="2"), scanned("a", file="1")], {"a": "-1"}, None, file_digest=ALIKE)
    assert [sample.source.file for sample in samples(plan)] == ["1"]
    assert plan.merged_duplicates == 1


@pytest.mark.parametrize(("good", "kept"), [("1", ["1"]), ("12", ["1"]), ("", [])], ids=["one", "two", "none"])
def test_duplicates_that_cannot_be_read_are_quarantined_as_unreadable(good: str, kept: list[str]) -> None:
    def digest(path: Path) -> str:
        if path.stem not in good:
            raise unreadable(OSError(5, "Input/output error"))
        return "same"

    files = [scanned("a", file=f"{name}.dcm") for name in "123"]
    plan = make(files, {"a": "-1"}, None, file_digest=digest)
    assert [sample.source.path.stem for sample in samples(plan)] == kept
    assert [(item.file, item.reason, item.found) for item in plan.quarantined] == [
        (f"{name}.dcm", Reason.UNREADABLE, "Input/output error") for name in "123" if name not in good
    ]
    assert plan.merged_duplicates == max(0, len(good) - 1)


def test_bytes_are_digested_only_where_ids_repeat() -> None:
    def never(path: Path) -> str:
        raise AssertionError(path)

    make([scanned("a"), scanned("b"), scanned("a", split="test")], {"a": "-1", "b": "-1"}, None, file_digest=never)


def test_test_image_has_no_mask_even_when_the_csv_has_its_id() -> None:
    plan = make([scanned("a"), scanned("t", split="test")], {"a": "-1", "t": "0 5"}, None)
    assert [sample.mask for sample in samples(plan)] == ["-1", None]
    assert plan.missing == ()


@pytest.mark.parametrize(
    ("patients", "expected", "grouped_by"),
    [
        ({"a": "P9", "b": "P1", "c": "P9"}, [0, 1, 0], "patients csv"),
        ({"c": "P9"}, [-1, -1, 0], "patients csv"),
        (None, [0, 0, -1], "dicom"),
    ],
    ids=["csv", "csv with gaps", "dicom"],
)
def test_patients_become_numbers_in_order_of_appearance(patients: dict, expected: list, grouped_by: str) -> None:
    files = [scanned("a", patient="X"), scanned("b", patient="X"), scanned("c")]
    plan = make(files, dict.fromkeys("abc", "-1"), patients)
    assert [sample.patient for sample in samples(plan)] == expected
    assert plan.grouped_by == grouped_by


@pytest.mark.parametrize(
    ("patient_ids", "ignored", "expected"),
    [
        (("X", "Y", "X", "Y"), False, [0, 1, 0, 1]),
        (("X", "Y", "Z", ""), False, [0, 1, -1, -1]),
        # A PatientID that two patients of the CSV share tells nothing.
        (("X", "X", "X", "X"), False, [0, 1, -1, -1]),
        (("X", "Y", "X", "Y"), True, [0, 1, -1, -1]),
    ],
    ids=["known by PatientID", "unknown", "one PatientID for all", "PatientID ignored"],
)
def test_an_unlabeled_image_without_a_row_has_the_patient_of_its_patient_id(
    patient_ids: tuple[str, ...], ignored: bool, expected: list[int]
) -> None:
    files = [scanned(name, patient=patient) for name, patient in zip("abcd", patient_ids, strict=True)]
    patients = {"a": "P9", "b": "P1"}
    plan = make(files, {"a": "-1", "b": "-1"}, patients, ignore_patient_id=ignored, keep_unlabeled=True)
    assert [sample.patient for sample in samples(plan)] == expected
    assert plan.unlabeled_patients.tolist() == expected[2:]


def test_a_copy_of_a_used_file_is_not_offered_another_id() -> None:
    """A copy that a file manager made has the id of an image that has its mask."""
    files = [scanned("u1", file="a.dcm"), scanned("u1", file="u1 (copy).dcm"), scanned("u2", file="b.dcm")]
    plan = make(files, {"a": "-1", "b": "1 2", "u1": "-1"}, None, id_source="file-name")
    assert ([sample.image_id for sample in samples(plan)], plan.named_otherwise) == (["a", "b"], 0)


def test_without_any_patient_id_nothing_groups() -> None:
    assert make([scanned("a")], {"a": "-1"}, None).grouped_by == "none"


def test_ids_by_file_name() -> None:
    files = [scanned("u", file="x/a.dcm"), scanned("u", file="y/b.dcm"), scanned("v", file="z/=1.dcm")]
    plan = make(files, {"a": "-1", "b": "1 2"}, None, id_source="file-name")
    assert [(sample.image_id, sample.source.file) for sample in samples(plan)] == [("a", "x/a.dcm"), ("b", "y/b.dcm")]
    assert [(row.file, row.reason, row.image_id) for row in plan.quarantined] == [("z/=1.dcm", Reason.NO_ID, "")]
    assert plan.named_otherwise == 0


def test_files_that_the_masks_name_by_their_other_id_are_counted() -> None:
    files = [scanned("u1", file="a.dcm"), scanned("u2", file="b.dcm"), scanned("u3", file="c.dcm", split="test")]
    assert make(files, {"a": "-1", "c": "-1", "u2": "-1"}, None).named_otherwise == 1
    assert make(files, {"u1": "-1", "u3": "-1", "b": "-1"}, None, id_source="file-name").named_otherwise == 1


def test_patient_ids_may_be_ignored() -> None:
    files = [scanned("a", patient="X"), scanned("b", patient="X")]
    plan = make(files, {"a": "-1", "b": "-1"}, None, ignore_patient_id=True)
    assert (plan.grouped_by, plan.training_patients.tolist()) == ("none", [-1, -1])


def test_file_names_other_than_the_id_are_counted() -> None:
    files = [scanned("a"), scanned("b", file="ID_1.dcm", split="test")]
    assert make(files, {"a": "-1"}, None).renamed == 1


def test_digest_follows_the_input() -> None:
    files = [scanned("a", patient="X"), scanned("b", patient="X"), bad("readme")]
    masks = {"a": "-1", "b": "1 2"}
    plan = make(files, masks, None)
    assert make(files, masks, None).digest == plan.digest
    changed = {
        "size": make([replace(files[0], size=11), *files[1:]], masks, None),
        "time": make([replace(files[0], modified_ns=100), *files[1:]], masks, None),
        "mask": make(files, masks | {"b": "1 3"}, None),
        "patient": make(files, masks, {"a": "1", "b": "2"}),
        "file": make([*files, scanned("c")], masks, None),
        "refusal": make(files[:2], masks, None),
        "missing": make(files, masks | {"z": "-1"}, None),
        "shard size": make(files, masks, None, shard_size=1),
    }
    digests = {name: other.digest for name, other in changed.items()}
    assert len({plan.digest, *digests.values()}) == 1 + len(digests), digests


def test_the_order_of_the_masks_does_not_matter() -> None:
    files = [scanned("a"), scanned("b")]
    masks = {"a": "-1", "z": "1 2", "y": "-1", "b": "1 2"}
    plans = [make(files, dict(rows), None) for rows in (masks.items(), reversed(masks.items()))]
    assert plans[0].digest == plans[1].digest
    assert plans[0].missing == plans[1].missing == ("y", "z")


def test_digest_does_not_depend_on_the_directory_of_the_input() -> None:
    moved = ScannedFile(Source("train", Path("/elsewhere"), "a.dcm"), "a", "", "a", 10, 99)
    assert make([moved], {"a": "-1"}, None).digest == make([scanned("a")], {"a": "-1"}, None).digest


def test_neither_rows_nor_group_numbers_reveal_paths_or_patients() -> None:
    ids = ["7", "2", "9", "4", "1"]
    masks = dict.fromkeys(ids, "-1")
    people = {"7": "Adams", "2": "Zorn", "9": "Adams", "4": "Meyer", "1": "Zorn"}
    renamed = {"Adams": "Zacharias", "Zorn": "Abbott", "Meyer": "Nobody"}

    def plan(names: Callable[[str], str]) -> list[tuple[str, int]]:
        files = [scanned(n, file=f"{names(people[n])}/{n}.dcm", patient=names(people[n])) for n in ids]
        return [(sample.image_id, sample.patient) for sample in samples(make(files, masks, None))]

    assert plan(str) == plan(renamed.__getitem__) == [("1", 0), ("2", 0), ("4", 1), ("7", 2), ("9", 2)]


def test_masks_among_the_images_are_no_duplicates_of_them() -> None:
    files = [scanned("a"), scanned("b"), scanned("a", file="masks/a.dcm"), scanned("b", file="masks/b.dcm")]
    drawn = [files[0], replace(files[1], drawn="black"), replace(files[2], drawn="mask")]
    plan = make([*drawn, replace(files[3], drawn="black")], {"a": "-1", "b": "-1"}, None, file_digest=OTHER)
    assert [sample.source.file for sample in samples(plan)] == ["a.dcm", "b.dcm"]
    assert [(item.source.file, item.exclusion) for item in plan.left_out] == [
        ("masks/a.dcm", "mask picture"),
        ("masks/b.dcm", "mask picture"),
    ]
    assert (plan.found, plan.merged_duplicates, plan.quarantined) == (4, 0, ())


def test_masks_of_one_split_say_nothing_about_the_other() -> None:
    files = [replace(scanned("a", file="x/a.png"), drawn="mask")]
    files.append(replace(scanned("b", split="test", file="x/b.png"), drawn="black"))
    plan = make(files, {"a": "-1"}, None)
    assert [sample.image_id for sample in samples(plan)] == ["b"]
