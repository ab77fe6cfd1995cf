"""Headers that tasks share: read once, of files as they are now, and without a patient's identity."""

import errno
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from build_data import OPTIONS, contents, write_one

from pneumo.dataset import build as build_module
from pneumo.dataset import paths, scan, shared_headers
from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs
from pneumo.dataset.scan import QuarantineRow, ScannedFile, Source
from pneumo.dataset.shared_headers import SharedHeaders
from pneumo.dataset.workers import Pool, WorkerDied
from pneumo.runtime.errors import UserError

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
    key = shared_headers.make_key(shared_headers.choose_key_files(sources))
    assert key is not None
    found = SharedHeaders.of(tmp_path / "out", key)
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


def test_a_key_is_made_of_dicom_files_alone(tmp_path: Path) -> None:
    """What can be known without the files, such as that they cannot be read, would be no secret."""
    others = []
    for number in range(200):
        (tmp_path / f"gone-{number}.dcm").symlink_to("nowhere")
        (tmp_path / f"page-{number}.dcm").write_text("<html>")
        others += [Source("train", tmp_path, f"{kind}-{number}.dcm") for kind in ("gone", "page")]
    assert shared_headers.make_key(shared_headers.choose_key_files(others)) is None
    keys = set()
    for patient in ("a", "b"):
        write_one(tmp_path / "one.dcm", "1.2.3", patient_id=patient)
        keys.add(shared_headers.make_key([*others[:100], Source("train", tmp_path, "one.dcm")]))
    assert len(keys - {None}) == 2


def test_the_name_of_a_picture_is_not_published(tmp_path: Path, read: list[str]) -> None:
    write_one(tmp_path / "1.dcm", "1.2.3")
    cv2.imwrite(str(tmp_path / "Doe_Jane_1950.png"), np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64)
    found = [Source("train", tmp_path, name) for name in ("1.dcm", "Doe_Jane_1950.png")]
    first = share(tmp_path, found).scan(found)
    shared = share(tmp_path, found)
    assert b"Doe" not in published(shared)[0].read_bytes()
    read.clear()
    assert shared.scan(found) == first
    assert read == []
    assert [item.image_id for item in first if isinstance(item, ScannedFile)] == ["1.2.3", "Doe_Jane_1950"]


@pytest.mark.parametrize("what", ["version", "split"])
def test_headers_of_another_version_or_split_are_others(
    sources: list[Source], tmp_path: Path, read: list[str], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = share(tmp_path, sources)
    shared.scan(sources)
    read.clear()
    if what == "version":
        monkeypatch.setattr(shared_headers, "__version__", "another")
    else:
        sources = [replace(source, split="test") for source in sources]
    shared.scan(sources)
    assert len(read) == 4


def test_a_full_disk_is_left_as_it_was(sources: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = share(tmp_path, sources)

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "replace", refuse)
    assert len(shared.scan(sources)) == 4
    assert published(shared) == []


def test_a_chunk_without_images_is_published_once(tmp_path: Path) -> None:
    write_one(tmp_path / "1.dcm", "1.2.3")
    (tmp_path / "page.dcm").write_text("<html>")
    shared = share(tmp_path, [Source("train", tmp_path, "1.dcm")])
    page = [Source("train", tmp_path, "page.dcm")]
    shared.scan(page)
    (path,) = published(shared)
    before = path.stat().st_ino
    shared.scan(page)
    assert path.stat().st_ino == before


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
    seen, changed = list[set[Path]](), list[dict[Path, int]]()
    for task in order[:2]:
        assert build(tree.inputs, out, replace(OPTIONS, task=f"{task}/3")) is None
        seen.append(set(headers.iterdir()))
        changed.append({path: path.stat().st_mtime_ns for path in seen[-1]})
    assert len(seen[0]) == 8  # of 29 files
    assert changed[1] == changed[0]
    secrets = set(tree.patients.values())
    assert not any(secret.encode() in path.read_bytes() for path in seen[0] for secret in secrets)
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


@pytest.mark.parametrize("task", ["0/1", "0/2"])
def test_one_task_alone_and_a_finished_dataset_share_nothing(
    built: Path, tree, tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedHeaders, "of", lambda *_: pytest.fail("shared"))
    before = contents(built)
    build(tree.inputs, built if task == "0/2" else tmp_path / "out", replace(OPTIONS, task=task))
    assert contents(built) == before
    assert not paths.build(built).exists()


def test_each_task_begins_with_other_files(tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "SCAN_CHUNK", 4)
    begun = []

    def stop(self: Pool, function: object, items: Sequence[Sequence[Source]]) -> object:
        if len(items) == 1:
            return run(self, function, items)
        begun.append(items[0][0].file)
        raise KeyboardInterrupt

    run = Pool.run
    monkeypatch.setattr(Pool, "run", stop)
    for task in range(3):
        with pytest.raises(KeyboardInterrupt):
            build(tree.inputs, tmp_path / "out", replace(OPTIONS, task=f"{task}/3"))
    assert len(set(begun)) == 3


def test_members_of_archives_are_shared_whatever_the_order_of_the_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "SCAN_CHUNK", 4)
    (tmp_path / "in").mkdir()
    for number in range(9):
        write_one(tmp_path / "one.dcm", f"1.2.{number}", seed=number, patient_id=f"p{number}")
        with zipfile.ZipFile(tmp_path / "in" / f"{number}.zip", "w") as archive:
            archive.write(tmp_path / "one.dcm", f"{number}.dcm")
    write_one(tmp_path / "in" / "key.dcm", "1.3")
    headers = paths.shared_headers(tmp_path / "out")
    inputs, seen = BuildInputs(dicom=tmp_path / "in"), list[set[Path]]()
    for task in range(2):
        build(inputs, tmp_path / "out", replace(OPTIONS, task=f"{task}/3"))
        seen.append(set(headers.iterdir()))
    assert len(seen[0]) == 3 + 3  # of 10 files, and of 9 members
    assert seen[1] == seen[0]


def test_a_refused_task_leaves_no_headers(tree, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fold"):
        build(tree.inputs, tmp_path / "out", replace(OPTIONS, task="0/2", num_folds=90))
    assert not paths.build(tmp_path / "out").exists()


def test_a_patient_is_one_also_where_a_file_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a crash, which costs the results of all files that were read with the one to blame."""
    monkeypatch.setattr(build_module, "SCAN_CHUNK", 4)
    for number in range(8):
        write_one(tmp_path / "in" / f"{number}.dcm", f"1.2.{number}", seed=number, patient_id=f"p{number % 4}")
    masks = tmp_path / "masks.csv"
    masks.write_text("ImageId,EncodedPixels\n" + "".join(f"1.2.{number},-1\n" for number in range(8)))
    inputs, run = BuildInputs(dicom=tmp_path / "in", masks=masks), Pool.run

    def crash(self: Pool, function: Callable, items: Sequence, **more: object) -> Iterator[tuple[int, object]]:
        for position, result in run(self, function, items, **more):
            died = position == 0 and getattr(function, "__name__", "") == "scan"
            yield position, WorkerDied(-11) if died else result

    monkeypatch.setattr(Pool, "run", crash)
    found = [build(inputs, tmp_path / "out", replace(OPTIONS, task=f"{n}/2")) for n in "01"]
    assert found[0] is None
    assert found[1] is not None
    assert (found[1].samples, found[1].patients) == (8, 4)


def test_without_a_key_each_task_reads_by_itself(tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when one of the files that make it is on a disk that hangs."""
    run = Pool.run

    def die(self: Pool, function: Callable, items: Sequence, **more: object) -> Iterator[tuple[int, object]]:
        yield from [(0, WorkerDied(-14))] if function is shared_headers.make_key else run(self, function, items, **more)

    monkeypatch.setattr(Pool, "run", die)
    build(tree.inputs, tmp_path / "out", replace(OPTIONS, task="0/2"))
    assert not paths.shared_headers(tmp_path / "out").exists()
