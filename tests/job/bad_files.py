"""Every kind of bad file that hospitals, broken disks and attackers produce, and good ones to put beside them."""

import contextlib
import os
import socket
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from pneumo.synthetic.dicom_writer import write_dicom

NAME = "ZZMARKER^ERIKA"
"""The patient's name in every file, which no output may repeat."""
ROOT = "1.2.826.0.1.3680043.8.498"
GOOD = 12
SOP_CLASSES = {
    "report": "1.2.840.10008.5.1.4.1.1.88.11",
    "pdf": "1.2.840.10008.5.1.4.1.1.104.1",
    "ecg": "1.2.840.10008.5.1.4.1.1.9.1.1",
    "rt-dose": "1.2.840.10008.5.1.4.1.1.481.2",
    "rt-plan": "1.2.840.10008.5.1.4.1.1.481.5",
    "segmentation": "1.2.840.10008.5.1.4.1.1.66.4",
    "presentation": "1.2.840.10008.5.1.4.1.1.11.1",
    "dicomdir": MediaStorageDirectoryStorage,
}

Write = Callable[[Path], object]


def good(number: int) -> Write:
    """Return a writer of a small image, every third of them uncompressed."""

    def write(path: Path) -> None:
        pixels = np.random.default_rng(number).integers(0, 255, (32, 40), np.uint8)
        write_dicom(
            path, pixels, image_id=f"{ROOT}.{number}", patient_id=f"{NAME}-{number // 2}", view="PA", sex="F", age=50,
            spacing_mm=0.2, syntax="explicit" if number % 3 == 0 else "jpeg", photometric="MONOCHROME2",
        )  # fmt: skip

    return write


def image(number: int, syntax: str = ExplicitVRLittleEndian, **elements: object) -> Dataset:
    """Return a 16 x 16 image of 8 bits, to be damaged."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.9.{number}"
    dataset.PatientName = dataset.PatientID = dataset.StudyDescription = NAME
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = bytes(256)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path) -> bytes:
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return path.read_bytes()


def damaged(number: int, change: Callable[[bytes], bytes], **elements: object) -> Write:
    return lambda path: path.write_bytes(change(save(image(number, **elements), path)))


def saved(number: int, syntax: str = ExplicitVRLittleEndian, **elements: object) -> Write:
    return lambda path: save(image(number, syntax, **elements), path)


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * share)]


def put(tag: str, value: bytes) -> Callable[[bytes], bytes]:
    """Return a change that replaces an element of a short value by raw bytes, VR and length included."""

    def change(data: bytes) -> bytes:
        at = data.index(bytes.fromhex(tag), 132)
        long = data[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN")
        length = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
        return data[: at + 4] + value + data[at + (12 if long else 8) + length :]

    return change


def deflate_bomb(path: Path) -> None:
    """Write two GiB of zeros in two MiB, as the value of one element behind the ids."""
    dataset = image(90)
    body = save(dataset, path)
    body = body[body.index(b"\x08\x00\x16\x00") :].partition(b"\xe0\x7f\x10\x00")[0]
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = stream.compress(body + b"\xe0\x7f\x10\x00OB\0\0\0\0\0\x80") + stream.flush(zlib.Z_FULL_FLUSH)
    # After a full flush nothing refers back, so that a block may be repeated.
    block = stream.compress(bytes(1 << 24)) + stream.flush(zlib.Z_FULL_FLUSH)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta = BytesIO()
    write_file_meta_info(meta, dataset.file_meta)
    path.write_bytes(bytes(128) + b"DICM" + meta.getvalue() + head + block * 128 + stream.flush())


def run_length_bomb(path: Path) -> None:
    """Write an image of 8192 x 8192 in a MiB; to render it takes two thousand times that."""
    side = 8192
    segment = b"\x81\0" * (side * side // 128)
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + segment
    save(image(91, RLELossless, Rows=side, Columns=side, PixelData=encapsulate([frame])), path)


def nested(path: Path) -> None:
    """Write sequences within sequences, five thousand deep, of undefined length."""
    data = save(image(92), path)
    at = data.index(b"\x10\x00\x10\x00", 132)
    opened = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(data[:at] + opened * 5000 + data[at:])


def fragments(path: Path) -> None:
    """Write a frame in a hundred thousand fragments of two bytes."""
    data = b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0\x02\0\0\0\xff\xd8" * 100_000 + b"\xfe\xff\xdd\xe0\0\0\0\0"
    save(image(93, JPEG2000Lossless, PixelData=data), path)


def huge_jpeg2000(path: Path) -> None:
    """Write a JPEG 2000 code-stream whose own header claims 2^31 columns and rows."""
    size = struct.pack(">H8IH3B", 0, *[2**31 - 1, 2**31 - 1, 0, 0] * 2, 1, 7, 1, 1)
    stream = b"\xff\x4f\xff\x51" + struct.pack(">H", 2 + len(size)) + size + bytes(100)
    save(image(94, JPEG2000Lossless, PixelData=encapsulate([stream])), path)


def not_an_image(number: int, sop_class: str) -> Write:
    def write(path: Path) -> None:
        dataset = image(number, SOPClassUID=sop_class)
        dataset.file_meta.MediaStorageSOPClassUID = sop_class
        save(dataset, path)

    return write


def bind(path: Path) -> None:
    """Make a socket; its address is short, whatever the path's length."""
    with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(path.parent):
        bound.bind(path.name)


def text(content: str) -> Write:
    return lambda path: path.write_text(content.replace("NAME", NAME))


BAD: dict[str, tuple[Write, str]] = {
    # Not a regular file.
    "fifo.dcm": (os.mkfifo, "not_a_file"),
    "socket.dcm": (bind, "not_a_file"),
    "device.dcm": (lambda path: path.symlink_to("/dev/zero"), "not_a_file"),
    "dangling.dcm": (lambda path: path.symlink_to("annexed/object"), "not_a_file"),
    "itself.dcm": (lambda path: path.symlink_to(path.name), "not_a_file"),
    "round/a.dcm": (lambda path: path.symlink_to("b.dcm"), "not_a_file"),
    "round/b.dcm": (lambda path: path.symlink_to("a.dcm"), "not_a_file"),
    "locked.dcm": (lambda path: (good(70)(path), path.chmod(0)), "unreadable"),
    "locked": (lambda path: (path.mkdir(), good(71)(path / "x.dcm"), path.chmod(0)), "unreadable"),
    # Of another format.
    "empty.dcm": (lambda path: path.touch(), "empty_file"),
    "page.dcm": (text("<!DOCTYPE html><title>Sign in</title>NAME"), "unknown_format"),
    "429.dcm": (text('{"code": 429, "message": "NAME"}'), "unknown_format"),
    "503.dcm": (text("HTTP/1.1 503 Service Unavailable\r\n\r\nNAME"), "unknown_format"),
    "archive.dcm": (lambda path: path.write_bytes(b"PK\x03\x04" + NAME.encode() + bytes(300)), "unknown_format"),
    "broken.zip": (lambda path: path.write_bytes(b"PK\x03\x04" + NAME.encode() + bytes(300)), "bad_archive"),
    "picture.dcm": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + NAME.encode() + bytes(300)), "bad_frame"),
    "notes.txt": (text("NAME, room 3"), "unknown_format"),
    ".DS_Store": (lambda path: path.write_bytes(b"\0\0\0\1Bud1" + bytes(500)), "unknown_format"),
    "._1.dcm": (lambda path: path.write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(4000)), "unknown_format"),
    "Thumbs.db": (lambda path: path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500)), "unknown_format"),
    "two\nlines \udcff.dcm": (text("NAME"), "unknown_format"),
    # Truncated, or with wrong lengths and numbers.
    "cut-in-header.dcm": (damaged(1, lambda data: data[:140]), "no_id"),
    "cut-in-pixels.dcm": (damaged(2, cut(0.9)), "bad_frame"),
    "cut-to-prefix.dcm": (lambda path: path.write_bytes(bytes(128) + b"DICM"), "no_id"),
    "long-element.dcm": (damaged(3, put("10001000", b"UN\0\0\xf0\xff\xff\xff")), "bad_frame"),
    "long-id.dcm": (damaged(4, put("08001800", b"UN\0\0\xf0\xff\xff\xff")), "bad_header"),
    "long-pixels.dcm": (damaged(5, put("e07f1000", b"OB\0\0\xf0\xff\xff\xff" + bytes(100))), "bad_frame"),
    "many-rows.dcm": (saved(7, Rows=65535, Columns=65535), "unsupported"),
    "more-rows-than-bytes.dcm": (saved(8, Rows=8000, Columns=8000), "bad_frame"),
    "many-frames.dcm": (saved(9, RLELossless, NumberOfFrames=2**31 - 1, PixelData=encapsulate([b"\0\0"])), "bad_frame"),
    "no-pixels.dcm": (saved(10, PixelData=b""), "no_pixels"),
    "no-rows.dcm": (saved(11, Rows=0), "no_pixels"),
    "name-as-syntax.dcm": (damaged(12, put("02001000", b"UI\x0e\0ZZMARKER^ERIKA")), "unsupported"),
    "name-as-color.dcm": (damaged(13, put("28000400", b"CS\x0e\0ZZMARKER^ERIKA")), "unsupported"),
    "name-as-bits.dcm": (damaged(14, put("28000001", b"LO\x0e\0ZZMARKER^ERIKA")), "bad_frame"),
    "name-as-id.dcm": (damaged(15, put("08001800", b"UI\x0e\0ZZ\\ARKER^ERIKA")), "no_id"),
    "name-as-pixels.dcm": (saved(16, JPEGLSLossless, PixelData=encapsulate([NAME.encode()])), "bad_frame"),
    # Bombs.
    "deflate-bomb.dcm": (deflate_bomb, "too_much_memory"),
    "run-length-bomb.dcm": (run_length_bomb, "too_much_memory"),
    "nested.dcm": (nested, "bad_header"),
    "fragments.dcm": (fragments, "bad_frame"),
    "huge-jpeg2000.dcm": (huge_jpeg2000, "bad_frame"),
    # DICOM without an X-ray image.
    **{f"{name}.dcm": (not_an_image(20 + n, uid), "not_an_image") for n, (name, uid) in enumerate(SOP_CLASSES.items())},
}
