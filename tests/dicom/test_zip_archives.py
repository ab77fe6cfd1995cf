"""Members of zip archives: read as files are, or rejected with what is wrong; nothing is unpacked to a disk."""

import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import reference_files as reference

from pneumo.dicom import image_file, opening, zip_archives
from pneumo.dicom.opening import open_file
from pneumo.dicom.rejection import FileRejectedError, Reason
from pneumo.dicom.zip_archives import ZipMember, is_archive, list_members

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    return reference.save(reference.build(reference.gradient("u2", 12), 12), tmp_path / "x.dcm")


def write(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def rejection(act: Callable[[], object]) -> FileRejectedError:
    with pytest.raises(FileRejectedError) as caught:
        act()
    return caught.value


def read(member: ZipMember) -> bytes:
    with open_file(member) as file:
        return file.read()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_member_is_read_as_its_file_is(tmp_path: Path, dicom: Path, method: int) -> None:
    archive = write(tmp_path / "a.ZIP", {"study/": b"", "study/x.dcm": dicom.read_bytes()}, method)
    assert is_archive(archive)
    (member,) = list_members(archive)
    assert (member.path, member.name) == ("study/x.dcm", "x.dcm")
    assert read(member) == dicom.read_bytes()
    assert image_file.scan(member) == image_file.scan(dicom)
    assert image_file.read(member) == image_file.read(dicom)
    assert opening.sha256(member) == opening.sha256(dicom)
    assert opening.is_beginning(member, dicom)
    assert opening.state(member) == (dicom.stat().st_size, archive.stat().st_mtime_ns)
    assert {path.name for path in tmp_path.rglob("*")} == {"a.ZIP", "x.dcm"}


def test_a_member_can_be_read_from_anywhere(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (member,) = list_members(write(tmp_path / "a.zip", {"x": data}))
    with open_file(member) as file:
        assert file.read(132) == data[:132]
        file.seek(0)
        assert file.read(20) == data[:20]
        file.seek(200_000)
        assert (file.read(10), file.tell()) == (data[200_000:200_010], 200_010)
        file.seek(100_000)
        assert file.read() == data[100_000:]


@pytest.mark.parametrize(
    "name",
    ["../../outside.dcm", "/etc/outside.dcm", "C:\\outside.dcm", "a\\..\\..\\outside.dcm", "..\u2044outside.dcm"],
)
def test_a_name_leads_nowhere(tmp_path: Path, dicom: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (member,) = list_members(write(tmp_path / "in" / "a.zip", {name: dicom.read_bytes()}))
    assert member.path == name
    assert image_file.read(member).image_id == reference.IMAGE_ID
    assert not list(tmp_path.rglob("outside*"))


def test_members_of_the_same_name_are_different_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x", b"second")
    assert [read(member) for member in list_members(tmp_path / "a.zip")] == [b"first", b"second"]


def test_names_are_in_unicode_whoever_wrote_them(tmp_path: Path) -> None:
    """macOS writes UTF-8 without its flag, old programs code page 437."""
    path = write(tmp_path / "a.zip", {"M\u00fcller.dcm": b"x"})
    flagged = path.read_bytes()
    assert [member.path for member in list_members(path)] == ["M\u00fcller.dcm"]
    plain = flagged.replace(b"\x00\x08\x00\x00", b"\x00\x00\x00\x00").replace(b"\x14\x00\x00\x08", b"\x14\x00\x00\x00")
    (tmp_path / "mac.zip").write_bytes(plain)
    assert [member.path for member in list_members(tmp_path / "mac.zip")] == ["M\u00fcller.dcm"]
    (tmp_path / "old.zip").write_bytes(plain.replace("\u00fc".encode(), b"\x81_"))
    assert [member.path for member in list_members(tmp_path / "old.zip")] == ["M\u00fc_ller.dcm"]


def test_an_archive_whose_names_are_not_what_it_says_is_to_be_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"M\u00fcller.dcm": b"x"})
    path.write_bytes(path.read_bytes().replace("\u00fc".encode(), b"\xff\xfe"))
    error = rejection(lambda: list_members(path))
    assert error.found == "the zip archive has a name that is not UTF-8, as it says"
    assert error.action.startswith("unpack it")


def encrypted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def with_method(number: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[8:10] = struct.pack("<H", number)
        start = data.index(b"PK\x01\x02") + 10
        data[start : start + 2] = struct.pack("<H", number)
        path.write_bytes(data)

    return change


def with_a_flipped_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60] ^= 8
    path.write_bytes(data)


def declared_as_gigabytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02") + 24
    data[start : start + 4] = struct.pack("<I", (1 << 31) + 1)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "reason", "found"),
    [
        (encrypted, Reason.BAD_ARCHIVE, "an encrypted member of a zip archive"),
        (with_method(9), Reason.BAD_ARCHIVE, "the member of the zip archive is compressed in a way that is not supp"),
        (with_a_flipped_bit, Reason.BAD_ARCHIVE, "the member of the zip archive does not unpack"),
        (declared_as_gigabytes, Reason.TOO_MUCH_MEMORY, "a member of 2147483649 bytes in a zip archive"),
    ],
)
def test_a_member_that_cannot_be_unpacked_is_rejected(
    tmp_path: Path, dicom: Path, change: Callable[[Path], None], reason: Reason, found: str
) -> None:
    path = write(tmp_path / "a.zip", {"x.dcm": dicom.read_bytes()})
    change(path)
    (member,) = list_members(path)
    for act in (image_file.read, read):
        error = rejection(lambda act=act: act(member))
        assert (error.reason, error.found[: len(found)]) == (reason, found)


def test_a_damaged_header_is_the_archives_fault(tmp_path: Path, dicom: Path) -> None:
    """Where the damage is met while the DICOM is parsed."""
    path = write(tmp_path / "a.zip", {"x.dcm": dicom.read_bytes()})
    with_a_flipped_bit(path)
    error = rejection(lambda: image_file.scan(list_members(path)[0]))
    assert (error.reason, error.found) == (Reason.BAD_ARCHIVE, "the member of the zip archive does not unpack")


def test_a_link_and_an_empty_member_are_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK, 0o130000):
            member = zipfile.ZipInfo(f"{kind}.dcm")
            member.external_attr = (kind | 0o777) << 16
            archive.writestr(member, "/etc/passwd" if kind == stat.S_IFLNK else b"")
        archive.writestr("empty.dcm", b"")
    link, *special, empty = [
        rejection(lambda member=member: read(member)) for member in list_members(tmp_path / "a.zip")
    ]
    assert (link.reason, link.found) == (Reason.NOT_A_FILE, "a link in a zip archive")
    for error in special:
        assert (error.reason, error.action) == (Reason.NOT_A_FILE, "leave it out")
        assert error.found == "a FIFO, a socket or a device in a zip archive"
    assert empty.reason == Reason.EMPTY_FILE


@pytest.mark.parametrize("mode", [0, 0o644, stat.S_IFREG | 0o600])
def test_a_member_of_no_mode_or_of_a_regular_file_is_read(tmp_path: Path, mode: int) -> None:
    info = zipfile.ZipInfo("x")
    info.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"x")
        archive.infolist()[0].external_attr = mode << 16
    assert [read(member) for member in list_members(tmp_path / "a.zip")] == [b"x"]


def test_a_directory_that_lists_nothing_of_what_is_there_is_said(tmp_path: Path, dicom: Path) -> None:
    """A comment that imitates the record at an archive's end."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(dicom, "x.dcm")
        archive.comment = b"PK\x05\x06" + bytes(18)
    error = rejection(lambda: list_members(tmp_path / "a.zip"))
    size = (tmp_path / "a.zip").stat().st_size
    assert (error.reason, error.found) == (
        *(Reason.BAD_ARCHIVE, f"a zip archive of {size} bytes whose directory lists no files"),
    )
    assert error.action.startswith("with another program, unpack it")


def test_files_that_share_bytes_are_a_bomb(tmp_path: Path, dicom: Path) -> None:
    path = write(tmp_path / "a.zip", {"x.dcm": dicom.read_bytes(), "y.dcm": dicom.read_bytes()})
    assert len(list_members(path)) == 2
    data = path.read_bytes()
    directory, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    first = data[directory : data.index(b"PK\x01\x02", directory + 4)]
    count, size = 1000, 1000 * len(first)
    record = struct.pack("<4sHHHHIIH", data[end : end + 4], 0, 0, count, count, size, directory, 0)
    path.write_bytes(data[:directory] + first * count + record)
    error = rejection(lambda: list_members(path))
    assert (error.reason, error.found) == (Reason.BAD_ARCHIVE, "a zip archive whose files share bytes")


def test_an_archive_that_unpacks_itself_is_read(tmp_path: Path, dicom: Path) -> None:
    plain = write(tmp_path / "plain.zip", {"x.dcm": dicom.read_bytes()})
    path = tmp_path / "a.zip"
    path.write_bytes(b"MZ" + bytes(5000) + plain.read_bytes())
    assert is_archive(path)
    assert [image_file.read(member) for member in list_members(path)] == [image_file.read(dicom)]
    path.write_bytes(b"MZ" + bytes(5000))
    assert not is_archive(path)


def nested(path: Path) -> tuple[bytes, int]:
    """Return an archive that has another one between its files, stored, and where that one ends."""
    inner = write(path.with_name("inner.zip"), {"c.dcm": b"c", "d.dcm": b"d"}).read_bytes()
    files = {name: os.urandom(3000) for name in ("a.dcm", "b.dcm")} | {"study1.zip": inner, "e.dcm": os.urandom(9000)}
    data = write(path, files, zipfile.ZIP_STORED).read_bytes()
    return data, data.index(inner) + len(inner)


@pytest.mark.parametrize(
    ("more", "where"),
    [(0, "before its first file"), (2000, "behind its directory")],
    ids=["at its end", "later"],
)
def test_of_an_archive_that_was_cut_off_the_archive_inside_it_is_not_read(
    tmp_path: Path, more: int, where: str
) -> None:
    path = tmp_path / "export.zip"
    data, end = nested(path)
    assert len(list_members(path)) == 4
    path.write_bytes(data[: end + more])
    assert is_archive(path)
    error = rejection(lambda: list_members(path))
    assert (error.reason, error.found) == (Reason.BAD_ARCHIVE, f"a zip archive with bytes {where}")
    assert error.action.startswith("fetch the file again from its source: it may be cut off")


def test_bytes_behind_an_archive_or_missing_from_its_comment_are_a_cut(tmp_path: Path, dicom: Path) -> None:
    path = write(tmp_path / "a.zip", {"x.dcm": dicom.read_bytes()})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"of a hospital"
    whole = path.read_bytes()
    assert len(list_members(path)) == 1
    for data in (whole + b"\0", whole[:-1]):
        path.write_bytes(data)
        os.utime(path, ns=(1, len(data)))
        assert rejection(lambda: list_members(path)).found == "a zip archive with bytes behind its directory"


def test_an_archive_behind_an_empty_one_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"1"})
    path.write_bytes(b"PK\x05\x06" + bytes(18) + path.read_bytes())
    assert rejection(lambda: list_members(path)).found == "a zip archive with bytes before its first file"


class Pipe(io.BytesIO):
    """Takes no seek, so that an archive's sizes come behind each file."""

    def tell(self) -> int:
        raise OSError

    seek = None  # type: ignore[assignment]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("comment", [b"", b"of a hospital"])
@pytest.mark.parametrize("zip64", [False, True])
def test_whole_archives_of_every_shape_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool, comment: bytes, zip64: bool
) -> None:
    if zip64:
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    target = Pipe() if streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("x", b"1")
        archive.writestr("y", b"2")
        archive.comment = comment
    data = target.getvalue()
    assert ((b"PK\x06\x06" in data), (b"PK\x07\x08" in data)) == (zip64, streamed)
    (tmp_path / "a.zip").write_bytes(data)
    assert [read(member) for member in list_members(tmp_path / "a.zip")] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"PK\x03\x04" + bytes(200), "the zip archive does not unpack"),
        (b"PK\x05\x06" + bytes(18), "a zip archive without files"),
    ],
)
def test_an_archive_without_a_member_is_rejected(tmp_path: Path, data: bytes, found: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    assert is_archive(path)
    error = rejection(lambda: list_members(path))
    assert (error.reason, error.found) == (Reason.BAD_ARCHIVE, found)


def test_an_archive_of_too_many_files_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_archives, "MAX_MEMBERS", 2)
    path = write(tmp_path / "a.zip", {"a": b"1", "b": b"2", "c": b"3"})
    assert rejection(lambda: list_members(path)).found == "a zip archive of 3 files"


def test_other_files_are_no_archives(tmp_path: Path, dicom: Path) -> None:
    document = write(tmp_path / "report.docx", {"word/document.xml": b"<x/>"})
    (tmp_path / "page.zip").write_text("<html>")
    (tmp_path / "dir.zip").mkdir()
    os.mkfifo(tmp_path / "pipe.zip")
    names = ("page.zip", "dir.zip", "pipe.zip", "missing.zip")
    assert not any(map(is_archive, [dicom, document, *(tmp_path / name for name in names)]))


def test_an_archive_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"1"})
    (member,) = list_members(path)
    assert read(member) == b"1"
    write(path, {"x": b"2"})
    os.utime(path, ns=(1, 1))
    assert read(member) == b"2"
    path.unlink()
    assert rejection(lambda: read(member)).reason == Reason.UNREADABLE


def test_an_archive_that_was_replaced_while_its_directory_is_known_is_listed_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"1", "y": b"2"})
    assert [member.path for member in list_members(path)] == ["x", "y"]
    write(tmp_path / "b.zip", {"z": b"3"}).replace(path)
    os.utime(path, ns=(1, 1))
    (member,) = list_members(path)
    assert (member.path, read(member), zip_archives.state(member)) == ("z", b"3", (1, 1))


def test_a_bomb_is_unpacked_only_as_far_as_it_is_read(
    tmp_path: Path, dicom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 MB of zeros behind a DICOM, in less than 1 MB."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.dcm", "w") as file,
    ):
        file.write(dicom.read_bytes())
        for _ in range(64):
            file.write(bytes(1 << 20))
    (tmp_path / "a.zip").write_bytes(target.getvalue())
    assert len(target.getvalue()) < 1 << 20
    unpacked: list[int] = []
    readinto = zip_archives._RejectingStream.readinto

    def count(self: zip_archives._RejectingStream, buffer: memoryview) -> int:
        unpacked.append(readinto(self, buffer))
        return unpacked[-1]

    monkeypatch.setattr(zip_archives._RejectingStream, "readinto", count)
    (member,) = list_members(tmp_path / "a.zip")
    assert image_file.scan(member) == image_file.scan(dicom)
    assert 0 < sum(unpacked) < 1 << 20
