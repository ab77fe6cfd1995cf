"""Files that cannot become a sample, and the reason that each is given."""

import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference_files as reference
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID, BasicTextSRStorage, EncapsulatedPDFStorage, RTDoseStorage, SegmentationStorage

from pneumo.dicom import image_file
from pneumo.dicom.rejection import FileRejectedError, Reason

VALUES = reference.gradient("u2", 12)
NOISE = np.random.default_rng(3).integers(0, 256, (40, 56), dtype=np.uint8)


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def jpeg_file(path: Path) -> None:
    reference.save(reference.build_jpeg(NOISE), path)


def without(*keywords: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        dataset = reference.build(VALUES, 12)
        for keyword in keywords:
            delattr(dataset, keyword)
        dataset.file_meta.MediaStorageSOPInstanceUID = ""
        dataset.save_as(path)

    return write


def of_class(uid: UID) -> Callable[[Path], None]:
    return lambda path: reference.save(reference.build(VALUES, 12, SOPClassUID=uid), path) and None


def truncated_jpeg(path: Path) -> None:
    jpeg_file(path)
    cut(path, 0.6)


def truncated_values(path: Path) -> None:
    reference.save(reference.build(VALUES, 12), path)
    cut(path, 0.6)


def truncated_header(path: Path) -> None:
    path.write_bytes(reference.save(reference.build(VALUES), path).read_bytes()[:140])


def no_frames(path: Path) -> None:
    dataset = reference.build_jpeg(NOISE)
    dataset.PixelData = encapsulate([b"\0\0"])[:8] + b"\xfe\xff\xdd\xe0\0\0\0\0"
    reference.save(dataset, path)


def garbage_in(syntax: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        dataset = reference.build(VALUES, 12, syntax)
        dataset.PixelData = encapsulate([bytes(range(256)) * 4])
        reference.save(dataset, path)

    return write


def bomb(path: Path) -> None:
    frame = bytearray(reference.encode_jpeg(NOISE))
    at = frame.index(b"\xff\xc0") + 5
    frame[at : at + 4] = b"\xff\xff\xff\xff"
    reference.save(reference.build_jpeg(NOISE, bytes(frame), Rows=65535, Columns=65535), path)


def too_many_rows(path: Path) -> None:
    reference.save(reference.build(VALUES, 12, Rows=65535), path)


def unknown_syntax(uid: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        dataset = reference.build_jpeg(NOISE)
        dataset.file_meta.TransferSyntaxUID = UID(uid)
        dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)

    return write


def cut_second_pixel_data(path: Path) -> None:
    reference.save(reference.build_jpeg(NOISE), path)
    data = path.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OB")
    # The complete element, and the beginning of another.
    path.write_bytes(data + data[at : at + 40])


def signed_codestream(path: Path) -> None:
    reference.save(reference.build(VALUES, 12, "jpeg2000"), path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\x4f\xff\x51") + 42] |= 0x80
    path.write_bytes(data)


def long_pixel_representation(path: Path) -> None:
    reference.save(reference.build_jpeg(NOISE), path)
    data, element = path.read_bytes(), b"\x28\0\x03\x01US"
    assert element + b"\x02\0\0\0" in data
    path.write_bytes(data.replace(element + b"\x02\0\0\0", element + b"\x04\0\1\0\0\0"))


def damaged_syntax(path: Path) -> None:
    reference.save(reference.build_jpeg(NOISE), path)
    data, element = path.read_bytes(), b"\x02\0\x10\0UI"
    assert element in data
    path.write_bytes(data.replace(element, b"\x02\0\x10\0U\xc9"))


def bad_deflate(path: Path) -> None:
    reference.save(reference.build(VALUES, 12, "deflated"), path)
    data = path.read_bytes()
    path.write_bytes(data[:-200] + bytes(100))


def zeros(path: Path) -> None:
    path.write_bytes(bytes(5000))


def cut_inside_a_sequence(path: Path) -> None:
    data = reference.save(reference.build(VALUES, 12), path).read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(data[:at] + b"\x28\x00\x10\x30SQ\0\0\xff\xff\xff\xff\xfe\xff")


def nested_sequences(path: Path) -> None:
    reference.save(reference.build(VALUES, 12), path)
    begin = b"\x28\x00\x10\x30SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(path.read_bytes() + 3000 * begin)


def deflated_bomb(path: Path) -> None:
    reference.save(reference.build(VALUES, 12, "deflated"), path)
    data = path.read_bytes()
    start = 132 + 12 + dcmread(path).file_meta.FileMetaInformationGroupLength
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = bytes(1 << 24)
    path.write_bytes(data[:start] + b"".join(deflater.compress(block) for _ in range(40)) + deflater.flush())


def large_codestream(path: Path) -> None:
    dataset = reference.build(VALUES, 12, "jpeg2000")
    size = (60000).to_bytes(4, "big")
    at = dataset.PixelData.index(b"\xff\x4f\xff\x51") + 8
    dataset.PixelData = dataset.PixelData[:at] + size + size + dataset.PixelData[at + 8 :]
    reference.save(dataset, path)


DAMAGED: dict[str, tuple[Callable[[Path], object], Reason, str]] = {
    "no bytes": (lambda path: path.write_bytes(b""), Reason.EMPTY_FILE, "no bytes"),
    "an HTTP error": (lambda path: path.write_text('{"error": 429}'), Reason.UNKNOWN_FORMAT, "JSON"),
    "a web page": (lambda path: path.write_text("<!DOCTYPE html>" * 50), Reason.UNKNOWN_FORMAT, "HTML"),
    "a CSV": (lambda path: path.write_text("ImageId,EncodedPixels\n"), Reason.UNKNOWN_FORMAT, "text"),
    "a zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(200)), Reason.UNKNOWN_FORMAT, "a zip archive"),
    "zeros": (zeros, Reason.UNKNOWN_FORMAT, "binary data"),
    "a header cut off": (truncated_header, Reason.NO_PIXELS, "no pixel data"),
    "nested sequences": (nested_sequences, Reason.BAD_HEADER, "sequences that are nested too deeply"),
    "a sequence cut off": (cut_inside_a_sequence, Reason.BAD_HEADER, "a sequence that ends inside an item"),
    "a prefix alone": (lambda path: path.write_bytes(bytes(128) + b"DICM"), Reason.NO_PIXELS, "no pixel data"),
    "a report": (of_class(BasicTextSRStorage), Reason.NOT_AN_IMAGE, "Basic Text SR Storage"),
    "a PDF": (of_class(EncapsulatedPDFStorage), Reason.NOT_AN_IMAGE, "Encapsulated PDF Storage"),
    "a dose map": (of_class(RTDoseStorage), Reason.NOT_AN_IMAGE, "RT Dose Storage"),
    "a segmentation": (of_class(SegmentationStorage), Reason.NOT_AN_IMAGE, "Segmentation Storage"),
    "no pixel data": (without("PixelData"), Reason.NO_PIXELS, "no pixel data"),
    "no rows": (without("Rows"), Reason.NO_PIXELS, "0 x 67 pixels"),
    "no photometric": (without("PhotometricInterpretation"), Reason.UNSUPPORTED, "unknown photometric"),
    "no bits": (without("BitsAllocated"), Reason.BAD_FRAME, "Bits Stored of 12 in Bits Allocated of 0"),
    "a JPEG cut off": (truncated_jpeg, Reason.BAD_FRAME, "pixel data without an end"),
    "values cut off": (truncated_values, Reason.BAD_FRAME, "less than expected"),
    "no frames": (no_frames, Reason.BAD_FRAME, ""),
    "garbage as RLE": (garbage_in("rle"), Reason.BAD_FRAME, "RLE"),
    "garbage as JPEG 2000": (garbage_in("jpeg2000"), Reason.BAD_FRAME, "no start of codestream"),
    "too many rows": (too_many_rows, Reason.BAD_FRAME, "less than expected"),
    "a bomb": (bomb, Reason.UNSUPPORTED, "65535 x 65535 pixels"),
    "a deflated bomb": (deflated_bomb, Reason.TOO_MUCH_MEMORY, "inflate to more"),
    "a codestream of 60000 x 60000": (large_codestream, Reason.BAD_FRAME, "a JPEG of 60000 x 60000"),
    "other pixel data that is cut": (cut_second_pixel_data, Reason.BAD_FRAME, "ends inside an element"),
    "signed samples in an unsigned image": (signed_codestream, Reason.BAD_FRAME, "codestream of signed samples"),
    "a long Pixel Representation": (
        long_pixel_representation,
        Reason.BAD_FRAME,
        "a PixelRepresentation that DICOM does not allow",
    ),
    "a damaged transfer syntax": (damaged_syntax, Reason.BAD_HEADER, "a transfer syntax that is not a UID"),
    "an unknown transfer syntax": (unknown_syntax("1.2.3.4"), Reason.UNSUPPORTED, "unknown transfer syntax"),
    "a video": (unknown_syntax("1.2.840.10008.1.2.4.100"), Reason.UNSUPPORTED, "MPEG2"),
    "a damaged deflate stream": (bad_deflate, Reason.BAD_HEADER, "a deflated dataset without an end"),
}


@pytest.mark.parametrize(("write", "reason", "found"), DAMAGED.values(), ids=DAMAGED)
def test_what_cannot_become_a_sample_is_rejected(
    tmp_path: Path, write: Callable[[Path], object], reason: Reason, found: str
) -> None:
    path = tmp_path / "x.dcm"
    write(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FileRejectedError) as caught:
            image_file.read(path)
    assert caught.value.reason == reason
    assert found in caught.value.found
    assert caught.value.expected
    assert caught.value.action


SEEN_BY_SCAN = ("no bytes", "an HTTP error", "a zip", "zeros", "a report", "a dose map")


@pytest.mark.parametrize("name", SEEN_BY_SCAN)
def test_a_scan_rejects_what_the_header_shows(tmp_path: Path, name: str) -> None:
    write, reason, _ = DAMAGED[name]
    write(tmp_path / "x.dcm")
    with pytest.raises(FileRejectedError) as caught:
        image_file.scan(tmp_path / "x.dcm")
    assert caught.value.reason == reason


@pytest.mark.parametrize("preamble", [True, False], ids=["preamble", "no preamble"])
def test_a_deflated_file_is_inflated_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preamble: bool
) -> None:
    path = reference.save(reference.build(VALUES, 12, "deflated"), tmp_path / "x.dcm")
    if not preamble:
        path.write_bytes(path.read_bytes()[132:])
    whole_image = image_file.read(path)
    monkeypatch.setattr("pneumo.dicom.parsing.MAX_INFLATED", 1 << 20)
    assert image_file.read(path).data == whole_image.data
    monkeypatch.setattr("pneumo.dicom.parsing.MAX_INFLATED", 1000)
    for use in (image_file.scan, image_file.read):
        with pytest.raises(FileRejectedError, match="inflate to more than") as caught:
            use(path)
        assert caught.value.reason == Reason.TOO_MUCH_MEMORY
