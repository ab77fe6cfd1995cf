import io
import subprocess
import sys
import tarfile
from itertools import chain
from pathlib import Path

import pytest

from pneumo.dataset.tar import MAX_KEY, SAFE_KEY, TarWriter, header, keys

LONG = "1." * 60 + "7"

SAMPLES = [
    ("1-2-3", [("jpg", b"\xff\xd8 picture"), ("rle", b"-1"), ("json", b"{}")]),
    ("1-2-4", [("png", bytes(511)), ("rle", b"5 7"), ("json", b"{}")]),
    ("1-2-5", [("png", bytes(512)), ("json", b"")]),
]


def write(samples: list) -> tuple[bytes, str, list[list[int]]]:
    file = io.BytesIO()
    writer = TarWriter(file)
    offsets = [writer.add(key, members) for key, members in samples]
    writer.close()
    return file.getvalue(), writer.index(), offsets


def test_tarfile_reads_back_every_member_where_the_offsets_say() -> None:
    content, _, offsets = write(SAMPLES)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = archive.getmembers()
        names = [f"{key}.{extension}" for key, parts in SAMPLES for extension, _ in parts]
        assert [member.name for member in members] == names
        parts = [part for _, parts in SAMPLES for part in parts]
        for member, offset, (_, data) in zip(members, chain.from_iterable(offsets), parts, strict=True):
            assert archive.extractfile(member).read() == data
            assert member.offset_data == offset
            assert content[offset : offset + len(data)] == data


def test_headers_hold_nothing_of_the_machine_or_the_hour() -> None:
    content, _, _ = write(SAMPLES)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.mode == 0o444
            assert not member.pax_headers
    assert content == write(SAMPLES)[0]
    assert len(content) % tarfile.RECORDSIZE == 0


GOLDEN = (
    b"1-2-3.jpg" + bytes(91) + b"0000444\0" + b"0000000\0" * 2 + b"00000421340\0" + b"00000000000\0" + b"007110\0 0"
    + bytes(100) + b"ustar\x0000" + bytes(247)
)  # fmt: skip
"""Header of 140,000 bytes named 1-2-3.jpg as the first shards had it: another one would change every shard's bytes."""


def test_header_is_that_of_the_shards_that_exist() -> None:
    assert len(GOLDEN) == tarfile.BLOCKSIZE
    assert header("1-2-3.jpg", 140_000) == GOLDEN


@pytest.mark.parametrize("size", [0, 1, 511, 512, 140_000, 8**11 - 1])
@pytest.mark.parametrize("name", ["a.jpg", "1-2-826-0-1-3680043-8-498-1.json", "k" * MAX_KEY + ".json", "z" * 100])
def test_header_is_one_block_that_tarfile_reads_back(name: str, size: int) -> None:
    block = header(name, size)
    assert len(block) == tarfile.BLOCKSIZE
    info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    assert (info.name, info.size, info.mode) == (name, size, 0o444)
    assert block[:100] == name.encode().ljust(100, b"\0")


def test_index_is_the_one_that_dali_writes(tmp_path: Path) -> None:
    content, index, _ = write(SAMPLES)
    (tmp_path / "a.tar").write_bytes(content)
    script = pytest.importorskip("wds2idx").__file__
    subprocess.run([sys.executable, script, tmp_path / "a.tar", tmp_path / "a.idx"], check=True, capture_output=True)
    assert index == (tmp_path / "a.idx").read_text()


@pytest.mark.parametrize(
    ("image_ids", "expected"),
    [
        (["1.2.3", "ID_0a1b2c3d4"], ["1-2-3", "ID_0a1b2c3d4"]),
        ([], []),
        (["1." * 44 + "77"], ["1-" * 44 + "77"]),
    ],
    ids=["plain", "none", "longest"],
)
def test_plain_ids_become_keys_with_dashes(image_ids: list[str], expected: list[str]) -> None:
    assert keys(image_ids) == expected


@pytest.mark.parametrize(
    "image_ids",
    [
        ["1.2-3", "1-2.3", "1.9"],
        [LONG, LONG + "8"],
        ["straße", "strasse"],
        ["a b", "a/b", "..", "/", "-a"],
        ["😀", "😁"],
    ],
    ids=["collision", "too long", "not ascii", "unsafe", "nothing left"],
)
def test_other_ids_get_distinct_safe_keys(image_ids: list[str]) -> None:
    found = keys(image_ids)
    assert len(set(found)) == len(image_ids)
    assert all(SAFE_KEY.fullmatch(key) and len(key) <= MAX_KEY for key in found)
    assert found == keys(image_ids)


def test_escaped_key_depends_on_its_id_alone() -> None:
    assert keys([LONG])[0] == keys(["1.2", LONG])[1]


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**5, 131_072])
@pytest.mark.parametrize("name", ["a", "1-2-3.jpg", "z" * 100])
def test_headers_are_those_of_tarfile(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o444
    assert header(name, size) == info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def test_a_name_that_is_not_ascii_has_no_header() -> None:
    with pytest.raises(UnicodeEncodeError):
        header("\u00e4.jpg", 1)
