import contextlib
import os
import pickle
import socket
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_files as reference
from pydicom import config, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID, BasicTextSRStorage, EncapsulatedPDFStorage, RTDoseStorage, SegmentationStorage

from pneumo.dicom import files, image_codec, reader
from pneumo.dicom.reader import DicomRejectedError, Reason
from pneumo.dicom.rejection import describe

VALUES = reference.gradient("u2", 12)
NOISE = np.random.default_rng(3).integers(0, 256, (40, 56), dtype=np.uint8)


def whole(tmp_path: Path, name: str = "1.2.3.dcm", **more: Any) -> Path:
    return reference.save(reference.build(VALUES, 12, **more), tmp_path / name)


def made_up_uid(text: str) -> UID:
    with config.disable_value_validation():
        return UID(text)


def test_a_jpeg_passes_through(tmp_path: Path) -> None:
    frame = reference.encode_jpeg(NOISE)
    image = reader.read(reference.save(reference.build_jpeg(NOISE, frame), tmp_path / "x.dcm"))
    assert (image.image_id, image.encoding, image.was_monochrome1, image.render_notes) == (
        reference.IMAGE_ID,
        "jpg",
        False,
        (),
    )
    assert image.data[: len(frame)] == frame
    assert (image.attributes.rows, image.attributes.columns) == (40, 56)


def test_everything_else_becomes_a_16_bit_png(tmp_path: Path) -> None:
    image = reader.read(whole(tmp_path, photometric="MONOCHROME1"))
    assert (image.encoding, image.was_monochrome1) == ("png", True)
    assert np.array_equal(image_codec.decode(image.data), 65535 - np.rint(VALUES.astype(float) / 4095 * 65535))


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    assert reader.read(whole(tmp_path)) == reader.read(whole(tmp_path))


def test_only_the_image_leaves(tmp_path: Path) -> None:
    text = ("PatientName", "PatientID", "PatientComments", "ImageComments", "StudyDescription", "AccessionNumber")
    image = reader.read(whole(tmp_path, **dict.fromkeys(text, "SECRET")))
    assert b"SECRET" not in pickle.dumps(image)


STEMS = {
    "1.2.840.dcm": "1.2.840",
    "1.2.840": "1.2.840",
    "ID_0a1b2c3d4.dcm": "ID_0a1b2c3d4",
    "X.DCM": "X",
    "image.ima": "image",
}


@pytest.mark.parametrize(("name", "stem"), STEMS.items())
def test_a_scan_names_the_image_the_patient_and_the_file(tmp_path: Path, name: str, stem: str) -> None:
    assert reader.scan(whole(tmp_path, name)) == reader.Header(reference.IMAGE_ID, "someone", stem)


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian", "deflated", "rle", "jpeg2000"])
def test_scan_and_read_agree_in_every_syntax(tmp_path: Path, syntax: str) -> None:
    path = whole(tmp_path, syntax=syntax)
    assert reader.scan(path).image_id == reader.read(path).image_id == reference.IMAGE_ID


def test_an_id_needs_not_be_a_valid_uid(tmp_path: Path) -> None:
    path = whole(tmp_path, SOPInstanceUID=made_up_uid("ID_0a1b2c3d4"), PatientID="")
    assert reader.scan(path) == reader.Header("ID_0a1b2c3d4", "", "1.2.3")
    assert reader.read(path).image_id == "ID_0a1b2c3d4"


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian"])
@pytest.mark.parametrize("meta", ["without preamble", "without meta header"])
def test_files_without_preamble_or_meta_header_are_read(tmp_path: Path, syntax: str, meta: str) -> None:
    path = whole(tmp_path, syntax=syntax)
    data = path.read_bytes()
    length = 132 + 12 + dcmread(path).file_meta.FileMetaInformationGroupLength
    path.write_bytes(data[132 if meta == "without preamble" else length :])
    image = reader.read(path)
    assert reader.scan(path).image_id == image.image_id == reference.IMAGE_ID
    assert image.attributes.transfer_syntax == reference.NATIVE[syntax]
    assert np.array_equal(image_codec.decode(image.data), np.rint(VALUES.astype(float) / 4095 * 65535))


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


def torn_jpeg(path: Path) -> None:
    jpeg_file(path)
    cut(path, 0.6)


def torn_values(path: Path) -> None:
    reference.save(reference.build(VALUES, 12), path)
    cut(path, 0.6)


def torn_header(path: Path) -> None:
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


def lying_rows(path: Path) -> None:
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
    # The whole element, and its beginning once more.
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
    "an HTTP error": (lambda path: path.write_text('{"error": 429}'), Reason.NOT_DICOM, "JSON"),
    "a web page": (lambda path: path.write_text("<!DOCTYPE html>" * 50), Reason.NOT_DICOM, "HTML"),
    "a CSV": (lambda path: path.write_text("ImageId,EncodedPixels\n"), Reason.NOT_DICOM, "text"),
    "a zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(200)), Reason.NOT_DICOM, "a zip archive"),
    "zeros": (zeros, Reason.NOT_DICOM, "binary data"),
    "a header cut off": (torn_header, Reason.NO_ID, "no SOP Instance UID"),
    "a sequence cut off": (cut_inside_a_sequence, Reason.NOT_DICOM, "No tag to read"),
    "a prefix alone": (lambda path: path.write_bytes(bytes(128) + b"DICM"), Reason.NO_ID, "no SOP Instance UID"),
    "no id": (without("SOPInstanceUID"), Reason.NO_ID, "no SOP Instance UID"),
    "a report": (of_class(BasicTextSRStorage), Reason.NOT_AN_IMAGE, "Basic Text SR Storage"),
    "a PDF": (of_class(EncapsulatedPDFStorage), Reason.NOT_AN_IMAGE, "Encapsulated PDF Storage"),
    "a dose map": (of_class(RTDoseStorage), Reason.NOT_AN_IMAGE, "RT Dose Storage"),
    "a segmentation": (of_class(SegmentationStorage), Reason.NOT_AN_IMAGE, "Segmentation Storage"),
    "no pixel data": (without("PixelData"), Reason.NO_PIXELS, "no pixel data"),
    "no rows": (without("Rows"), Reason.NO_PIXELS, "0 x 67 pixels"),
    "no photometric": (without("PhotometricInterpretation"), Reason.UNSUPPORTED, "unknown photometric"),
    "no bits": (without("BitsAllocated"), Reason.BAD_FRAME, "Bits Allocated"),
    "a JPEG cut off": (torn_jpeg, Reason.BAD_FRAME, "pixel data without an end"),
    "values cut off": (torn_values, Reason.BAD_FRAME, "less than expected"),
    "no frames": (no_frames, Reason.BAD_FRAME, ""),
    "garbage as RLE": (garbage_in("rle"), Reason.BAD_FRAME, "RLE"),
    "garbage as JPEG 2000": (garbage_in("jpeg2000"), Reason.BAD_FRAME, "no start of codestream"),
    "too many rows": (lying_rows, Reason.BAD_FRAME, "less than expected"),
    "a bomb": (bomb, Reason.UNSUPPORTED, "65535 x 65535 pixels"),
    "a deflated bomb": (deflated_bomb, Reason.TOO_MUCH_MEMORY, "inflate to more"),
    "a codestream of 60000 x 60000": (large_codestream, Reason.BAD_FRAME, "a JPEG of 60000 x 60000"),
    "other pixel data that is cut": (cut_second_pixel_data, Reason.BAD_FRAME, "ends inside an element"),
    "signed samples in an unsigned image": (signed_codestream, Reason.BAD_FRAME, "codestream of signed samples"),
    "a long Pixel Representation": (long_pixel_representation, Reason.BAD_FRAME, "a PixelRepresentation that is not"),
    "a damaged transfer syntax": (damaged_syntax, Reason.NOT_DICOM, "a transfer syntax that is no UID"),
    "an unknown transfer syntax": (unknown_syntax("1.2.3.4"), Reason.UNSUPPORTED, "unknown transfer syntax"),
    "a video": (unknown_syntax("1.2.840.10008.1.2.4.100"), Reason.UNSUPPORTED, "MPEG2"),
    "a damaged deflate stream": (bad_deflate, Reason.NOT_DICOM, "a deflated dataset without an end"),
}


@pytest.mark.parametrize(("write", "reason", "found"), DAMAGED.values(), ids=DAMAGED)
def test_what_cannot_become_a_sample_is_rejected(
    tmp_path: Path, write: Callable[[Path], object], reason: Reason, found: str
) -> None:
    path = tmp_path / "x.dcm"
    write(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DicomRejectedError) as caught:
            reader.read(path)
    assert caught.value.reason == reason
    assert found in caught.value.found
    assert caught.value.expected
    assert caught.value.action


SEEN_BY_SCAN = ("no bytes", "an HTTP error", "a zip", "zeros", "a header cut off", "no id", "a report", "a dose map")


@pytest.mark.parametrize("name", SEEN_BY_SCAN)
def test_a_scan_rejects_what_the_header_shows(tmp_path: Path, name: str) -> None:
    write, reason, _ = DAMAGED[name]
    write(tmp_path / "x.dcm")
    with pytest.raises(DicomRejectedError) as caught:
        reader.scan(tmp_path / "x.dcm")
    assert caught.value.reason == reason


BAD_IDS = {"two values": "1.2\\1.3", "control characters": "1.2\n=cmd", "too long": "1" * 300}


@pytest.mark.parametrize("uid", BAD_IDS.values(), ids=BAD_IDS)
def test_an_id_must_be_one_printable_word(tmp_path: Path, uid: str) -> None:
    path = whole(tmp_path, SOPInstanceUID=made_up_uid("MARK"))
    data = path.read_bytes()
    mark, value = b"\x08\x00\x18\x00UI\x04\x00MARK", uid.encode() + b"\0" * (len(uid) % 2)
    assert mark in data
    path.write_bytes(data.replace(mark, b"\x08\x00\x18\x00UI" + len(value).to_bytes(2, "little") + value))
    with pytest.raises(DicomRejectedError, match="no identifier"):
        reader.scan(path)


def test_a_file_with_two_ids_belongs_to_nobody(tmp_path: Path) -> None:
    path = whole(tmp_path)
    data = path.read_bytes()
    other = b"\x08\x00\x18\x00UI\x06\x001.2.3\0"
    path.write_bytes(data + other)
    with pytest.raises(DicomRejectedError, match="two SOP Instance UIDs") as caught:
        reader.read(path)
    assert caught.value.reason == Reason.NO_ID


@pytest.mark.parametrize("use", [reader.scan, reader.read])
def test_what_the_system_refuses_is_unreadable(tmp_path: Path, use: Callable[[Path], object]) -> None:
    for path, found in (
        (tmp_path, "a directory"),
        (tmp_path / "missing", "No such file or directory"),
    ):
        with pytest.raises(DicomRejectedError, match=found) as caught:
            use(path)
        assert (caught.value.reason, caught.value.phase) == (Reason.UNREADABLE, "open")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = whole(tmp_path)
    path.chmod(0)
    with pytest.raises(DicomRejectedError, match="Permission denied"):
        reader.read(path)


def test_every_cut_of_a_file_is_rejected_or_the_same_picture(tmp_path: Path) -> None:
    for number, dataset in enumerate((reference.build_jpeg(NOISE), reference.build(NOISE, syntax="rle"))):
        path = reference.save(dataset, tmp_path / f"{number}.dcm")
        data, image = path.read_bytes(), reader.read(path)
        for length in range(1, len(data), 37):
            path.write_bytes(data[:length])
            with contextlib.suppress(DicomRejectedError):
                assert reader.read(path).data == image.data


def test_flipped_bits_never_raise_anything_else(tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    for number, dataset in enumerate((reference.build_jpeg(NOISE), reference.build(VALUES, 12))):
        path = reference.save(dataset, tmp_path / f"{number}.dcm")
        data = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(data)
            # Mostly the header: flips in the pixels are only other pixels.
            for at in random.integers(128, min(len(data), 800), 3):
                damaged[at] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged)
            with contextlib.suppress(DicomRejectedError):
                image_codec.decode(reader.read(path).data)


def test_a_rejection_survives_the_way_between_processes() -> None:
    rejected = DicomRejectedError(Reason.BAD_FRAME, "frame", "this", "that", "do something")
    copy = pickle.loads(pickle.dumps(rejected))
    assert vars(copy) == vars(rejected)
    assert str(copy) == "this; expected that; do something"


def test_foreign_messages_are_cut_to_one_line() -> None:
    assert describe(ValueError("one\n  two")) == "ValueError: one two"
    assert describe(KeyError()) == "KeyError"
    assert (
        describe(ValueError("bad float: \"O'Brien\" in 'x', can't go on")) == "ValueError: bad float: ..., can't go on"
    )
    assert describe(AttributeError("(0028,0100) 'Bits Allocated'")) == "AttributeError: (0028,0100) Bits Allocated"
    assert len(describe(ValueError("x" * 5000))) == 200


SAID = {
    "could not convert string to float: 'DOE^J'": "could not convert string to float: ...",
    """bad literal: "O'DOE" or b'DOE'""": "bad literal: ...",
    "'utf-8' codec can't decode byte 0xc3 in 'DOE": "... codec can't decode byte 0xc3 in ...",
    "(0028,0100) 'Bits Allocated' is 'DOE'": "(0028,0100) Bits Allocated is ...",
    "no element 'PixelData'": "no element PixelData",
}


@pytest.mark.parametrize("said", SAID)
def test_what_a_foreign_message_quotes_is_left_out_unless_it_is_the_standards(said: str) -> None:
    assert describe(ValueError(said)) == f"ValueError: {SAID[said]}"


def test_a_patient_id_goes_to_the_plan_cut_to_a_bearable_length(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    dataset = reference.build(VALUES, 12)
    dataset.add_new("PatientID", "UT", "secret" * 100_000)
    reference.save(dataset, path)
    assert reader.scan(path).patient_id == ("secret" * 100)[:256]


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "PatientID", "Rows", "ViewPosition", "PixelData"])
def test_an_element_of_unknown_vr_without_a_value_raises_nothing_else(tmp_path: Path, keyword: str) -> None:
    data = reference.save(reference.build(VALUES, 12, ViewPosition="PA"), tmp_path / "x.dcm").read_bytes()
    tag = struct.pack("<2H", *divmod(tag_for_keyword(keyword), 1 << 16))
    at = data.index(tag, 132)
    (tmp_path / "x.dcm").write_bytes(data[: at + 4] + b"NW\0\0" + data[at + 8 :])
    for use in (reader.scan, reader.read):
        with contextlib.suppress(DicomRejectedError):
            use(tmp_path / "x.dcm")


def special(path: Path) -> dict[Path, str]:
    """Make one of each that is no file, and return what is said of it."""
    os.mkfifo(path / "fifo")
    (path / "device").symlink_to("/dev/zero")
    (path / "dangling").symlink_to("nowhere")
    (path / "itself").symlink_to("itself")
    with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(path):
        bound.bind("socket")
    kinds = {"fifo": "a FIFO", "device": "a device", "socket": "a socket"}
    kinds |= dict.fromkeys(("dangling", "itself"), "a link that leads nowhere")
    return {path / name: kind for name, kind in kinds.items()}


@pytest.mark.parametrize("use", [reader.scan, reader.read])
def test_what_is_no_file_is_refused_without_being_opened(
    tmp_path: Path, use: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    for path, kind in special(tmp_path).items():
        with pytest.raises(DicomRejectedError, match=f"^{kind};") as caught:
            use(path)
        assert (caught.value.reason, caught.value.phase) == (Reason.NOT_A_FILE, "open")


@pytest.mark.parametrize("preamble", [True, False], ids=["preamble", "no preamble"])
def test_a_deflated_file_inflates_no_further_than_an_image_may_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preamble: bool
) -> None:
    path = reference.save(reference.build(VALUES, 12, "deflated"), tmp_path / "x.dcm")
    if not preamble:
        path.write_bytes(path.read_bytes()[132:])
    whole_image = reader.read(path)
    monkeypatch.setattr("pneumo.dicom.parsing.MAX_INFLATED", 1 << 20)
    assert reader.read(path).data == whole_image.data
    monkeypatch.setattr("pneumo.dicom.parsing.MAX_INFLATED", 1000)
    for use in (reader.scan, reader.read):
        with pytest.raises(DicomRejectedError, match="inflate to more than") as caught:
            use(path)
        assert caught.value.reason == Reason.TOO_MUCH_MEMORY


def test_every_reason_is_documented() -> None:
    source = Path(__import__("pneumo.dicom.rejection", fromlist=["Reason"]).__file__).read_text()
    for reason in Reason:
        assert f'{reason.name} = "{reason.value}"\n    """' in source


@pytest.mark.siim
def test_every_real_frame_passes_byte_for_byte(siim: Path) -> None:
    paths = [path for path in files.find(siim) if path.suffix == ".dcm"]
    assert paths
    for path in paths:
        image, header, dataset = reader.read(path), reader.scan(path), dcmread(path)
        assert image.encoding == "jpg"
        assert image.data == get_frame(dataset.PixelData, 0, number_of_frames=1)
        assert header.image_id == image.image_id == dataset.SOPInstanceUID
        assert asdict(image.attributes)["view"] in ("PA", "AP")
        assert image.attributes.row_spacing_mm == dataset.PixelSpacing[0]
    assert np.abs(image_codec.decode(image.data).astype(int) - dataset.pixel_array).max() <= 2
