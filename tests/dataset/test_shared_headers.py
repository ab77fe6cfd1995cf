"""Headers that tasks share: read once, of files as they are now, and without a patient's identity."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from build_data import OPTIONS, contents, write_one

from pneumo.dataset import build as build_module
from pneumo.dataset import paths, scan, shared_headers
from pneumo.dataset.build import build
from pneumo.dataset.scan import QuarantineRow, ScannedFile, Source
from pneumo.dataset.shared_headers import SharedHeaders

Shared = Callable[[Sequence[Source]], list[shared_headers.Scanned]]


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    for number in range(3):
        write_one(tmp_path / "in" / f"{number}.dcm", f"1.2.{number}", seed=number)
    (tmp_path / "in" / "page.dcm").write_text("<html>")
    return [Source("train", path.parent, path.name) for path in sorted((tmp_path / "in").iterdir())]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose headers are read, in that order."""
    names = list[str]()
    scan_file = scan.scan_file

    def note(source: Source) -> object:
        names.append(source.file)
        return scan_file(source)

    monkeypatch.setattr(scan, "scan_file", note)
    return names


def share(tmp_path: Path, sources: Sequence[Source]) -> SharedHeaders:
    found = SharedHeaders.of(tmp_path / "out", shared_headers.make_key(shared_headers.choose(sources)))
    assert found is not None
    return found


def published(shared: SharedHeaders) -> list[Path]:
    return sorted(shared.directory.iterdir())


def test_what_a_task_has_read_is_not_read_again_but_for_what_is_no_image(
    sources: list[Source], tmp_path: Path, read: list[str]
) -> None:
    first = share(tmp_path, sources).scan(sources)
    assert read == ["0.dcm", "1.dcm", "2.dcm", "page.dcm"]
    read.clear()
    assert share(tmp_path, sources).scan(sources) == first
    assert read == ["page.dcm"]
    images = scan.scan_files(sources)
    assert [isinstance(item, QuarantineRow) for item in first] == [False, False, False, True]
    for ours, image in zip(first, images, strict=True):
        if isinstance(image, ScannedFile):
            assert isinstance(ours, ScannedFile)
            assert replace(ours, patient_id="p") == image


def test_patients_are_told_apart_by_digests_that_nobody_can_repeat(tmp_path: Path) -> None:
    for name, patient in (("a", "Doe^Jane"), ("b", "Doe^Jane"), ("c", "Roe"), ("d", "")):
        write_one(tmp_path / f"{name}.dcm", f"1.2.{ord(name)}", patient_id=patient)
    found = [Source("train", tmp_path, f"{name}.dcm") for name in "abcd"]
    shared = share(tmp_path, found)
    a, b, c, d = (item.patient_id for item in shared.scan(found) if isinstance(item, ScannedFile))
    assert a == b != c
    assert d == ""
    one = shared.scan_one(found[0])
    assert isinstance(one, ScannedFile)
    assert one.patient_id == a
    (path,) = published(shared)
    assert a.encode() in path.read_bytes()
    assert not any(
        word in path.read_bytes() for word in (b"Doe", b"Roe", b"dcm", shared.key, shared.key.hex().encode())
    )
    # Another header of any of the chosen files is another key, and thus another digest of the same patient.
    write_one(tmp_path / "d.dcm", "1.2.999", patient_id="")
    other = share(tmp_path, found).scan(found)[0]
    assert isinstance(other, ScannedFile)
    assert other.patient_id != a


def test_a_file_that_has_changed_is_read_again(sources: list[Source], tmp_path: Path, read: list[str]) -> None:
    shared = share(tmp_path, sources)
    shared.scan(sources)
    read.clear()
    path = tmp_path / "in" / "1.dcm"
    size = path.stat().st_size
    write_one(path, "1.2.7", seed=1)
    assert path.stat().st_size == size
    os.utime(path, ns=(0, 77))
    item = shared.scan(sources)[1]
    assert isinstance(item, ScannedFile)
    assert (item.image_id, item.modified_ns) == ("1.2.7", 77)
    assert read == ["0.dcm", "1.dcm", "2.dcm", "page.dcm"]


def test_a_file_that_changes_while_it_is_read_is_not_published(
    sources: list[Source], tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, scan_files = share(tmp_path, sources), scan.scan_files

    def change(chosen: Sequence[Source]) -> object:
        os.utime(tmp_path / "in" / "1.dcm", ns=(0, 77))
        return scan_files(chosen)

    monkeypatch.setattr(scan, "scan_files", change)
    state = (tmp_path / "in" / "1.dcm").stat()
    shared.scan(sources)
    monkeypatch.setattr(scan, "scan_files", scan_files)
    os.utime(tmp_path / "in" / "1.dcm", ns=(0, state.st_mtime_ns))
    read.clear()
    shared.scan(sources)
    assert read == ["1.dcm", "page.dcm"]


@pytest.mark.parametrize("damage", [b"", b"x", lambda data: data[:-1], lambda data: data.replace(b"1.2.0", b"1.2.9")])
def test_what_is_damaged_is_read_again(sources: list[Source], tmp_path: Path, read: list[str], damage: object) -> None:
    shared = share(tmp_path, sources)
    first = shared.scan(sources)
    (path,) = published(shared)
    path.write_bytes(damage(path.read_bytes()) if callable(damage) else damage)
    read.clear()
    assert shared.scan(sources) == first
    assert len(read) == 4
    read.clear()
    assert shared.scan(sources) == first
    assert read == ["page.dcm"]


def test_where_nothing_can_be_written_each_reads_by_itself(sources: list[Source], tmp_path: Path) -> None:
    shared = share(tmp_path, sources)
    first = shared.scan(sources)
    for path in published(shared):
        path.unlink()
    # As when another task has finished the dataset.
    shared.directory.rmdir()
    assert shared.scan(sources) == first
    assert not shared.directory.exists()
    (tmp_path / "file").touch()
    assert SharedHeaders.of(tmp_path / "file", b"key") is None


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_tasks_read_each_header_once_in_all(
    built: Path, tree, tmp_path: Path, order: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "SCAN_CHUNK", 4)
    out, headers = tmp_path / "out", paths.shared_headers(tmp_path / "out")
    seen = list[set[Path]]()
    for task in order[:2]:
        assert build(tree.inputs, out, replace(OPTIONS, task=f"{task}/3")) is None
        seen.append(set(headers.iterdir()))
    assert len(seen[0]) == 8  # of 29 files
    assert seen[1] == seen[0]
    secrets = set(tree.patients.values())
    assert not any(secret.encode() in path.read_bytes() for path in seen[0] for secret in secrets)
    changed = {path: path.stat().st_mtime_ns for path in seen[0]}
    assert {path: path.stat().st_mtime_ns for path in headers.iterdir()} == changed
    build(tree.inputs, out, replace(OPTIONS, task=f"{order[2]}/3"))
    assert contents(out) == contents(built)


def test_a_task_with_headers_of_others_that_are_gone_or_of_its_own_gives_the_same_bytes(
    built: Path, tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "SCAN_CHUNK", 4)
    out = tmp_path / "out"
    # The files' own PatientID, here and by digests, are the same groups.
    inputs = replace(tree.inputs, patients=None)
    build(inputs, tmp_path / "alone", OPTIONS)
    build(inputs, out, replace(OPTIONS, task="1/2"))
    for path in sorted(paths.shared_headers(out).iterdir())[::2]:
        path.unlink()
    # Another task, which stopped before it published more, and the same one again.
    build(inputs, out, replace(OPTIONS, task="1/2"))
    build(inputs, out, replace(OPTIONS, task="0/2"))
    assert contents(out) == contents(tmp_path / "alone")


def test_one_task_alone_and_a_finished_dataset_share_nothing(built: Path, tree, tmp_path: Path) -> None:
    before = contents(built)
    build(tree.inputs, built, replace(OPTIONS, task="0/2"))
    assert contents(built) == before
    assert not paths.build(built).exists()
