from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import reference_files as reference
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGExtended12Bit

from pneumo.dicom import jpeg
from pneumo.dicom.frames import jpeg_frame
from pneumo.dicom.rejection import DicomRejectedError, Reason

NOISE = np.random.default_rng(7).integers(0, 256, (40, 56), dtype=np.uint8)
JPEG = reference.encode_jpeg(NOISE)
SCAN = jpeg.parse(JPEG).scan
LUT = reference.lut_item(0, 8, list(range(256)))


def through_a_file(dataset: Dataset, tmp_path: Path) -> Dataset:
    return dcmread(reference.save(dataset, tmp_path / "x.dcm"))


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def with_segment(marker: int, body: bytes) -> bytes:
    return JPEG[:2] + segment(marker, body) + JPEG[2:]


PLAIN = {
    "as SIIM": {},
    "identity rescale": {"RescaleSlope": 1, "RescaleIntercept": 0},
    "identity presentation": {"PresentationLUTShape": "IDENTITY"},
    "one frame": {"NumberOfFrames": 1},
    "spacing": {"PixelSpacing": [0.1, 0.1]},
}


@pytest.mark.parametrize("elements", PLAIN.values(), ids=PLAIN)
def test_a_plain_frame_passes_byte_for_byte(tmp_path: Path, elements: dict[str, Any]) -> None:
    assert jpeg_frame(through_a_file(reference.build_jpeg(NOISE, JPEG, **elements), tmp_path)) == padded(JPEG)


def padded(frame: bytes) -> bytes:
    """Return the frame as DICOM stores it: of even length."""
    return frame + b"\0" * (len(frame) % 2)


WHOLE = {
    "a fill byte before the end": JPEG[:-2] + b"\xff\xff\xd9",
    "a fill byte after the end": JPEG + b"\xff" * (1 + len(JPEG) % 2),
    "fill bytes between segments": JPEG[:2] + b"\xff\xff" + JPEG[2:],
    "restart markers": cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[1].tobytes(),
}


@pytest.mark.parametrize("frame", WHOLE.values(), ids=WHOLE)
def test_odd_but_whole_bitstreams_pass(tmp_path: Path, frame: bytes) -> None:
    assert jpeg_frame(through_a_file(reference.build_jpeg(NOISE, frame), tmp_path)) == padded(frame)


def test_fragments_of_one_frame_are_joined(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(NOISE)
    dataset.PixelData = encapsulate([JPEG], fragments_per_frame=3)
    assert jpeg_frame(through_a_file(dataset, tmp_path)) == padded(JPEG)


RENDERED = {
    "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1"},
    "inverse": {"PresentationLUTShape": "INVERSE"},
    "a window": {"WindowCenter": 128, "WindowWidth": 256},
    "a window of several": {"WindowCenter": [128, 60], "WindowWidth": [256, 40]},
    "a VOI LUT": {"VOILUTSequence": Sequence([LUT])},
    "a modality LUT": {"ModalityLUTSequence": Sequence([LUT])},
    "a slope": {"RescaleSlope": 2, "RescaleIntercept": 0},
    "an intercept alone": {"RescaleIntercept": -1},
    "a padding value": {"PixelPaddingValue": 255},
    "7 bits": {"BitsStored": 7},
    "signed": {"PixelRepresentation": 1},
    "12 bits allocated as 16": {"BitsAllocated": 16},
}


@pytest.mark.parametrize("elements", RENDERED.values(), ids=RENDERED)
def test_a_frame_that_is_not_the_picture_is_left_to_rendering(tmp_path: Path, elements: dict[str, Any]) -> None:
    assert jpeg_frame(through_a_file(reference.build_jpeg(NOISE, **elements), tmp_path)) is None


def test_an_exif_segment_could_turn_the_picture_in_a_decoder(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(NOISE, with_segment(0xE1, b"Exif\0\0MM\0*" + bytes(20)))
    assert jpeg_frame(through_a_file(dataset, tmp_path)) is None


def test_a_progressive_frame_is_not_baseline(tmp_path: Path) -> None:
    frame = cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert jpeg_frame(through_a_file(reference.build_jpeg(NOISE, frame), tmp_path)) is None


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg2000"])
def test_other_transfer_syntaxes_are_left_to_rendering(tmp_path: Path, syntax: str) -> None:
    assert jpeg_frame(through_a_file(reference.build(NOISE, syntax=syntax), tmp_path)) is None


def test_several_frames_are_left_to_rendering(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(NOISE, NumberOfFrames=2)
    dataset.PixelData = encapsulate([JPEG, JPEG])
    assert jpeg_frame(through_a_file(dataset, tmp_path)) is None


TORN = {
    "half": (JPEG[: len(JPEG) // 2], "no end-of-image marker"),
    "end marker cut": (JPEG[:-2], "no end-of-image marker"),
    "start lost": (JPEG[4:], "no start-of-image marker"),
    "ends alone": (JPEG[:2] + JPEG[-2:], "damaged JPEG segments"),
    "a zeroed header": (JPEG[:2] + bytes(SCAN - 2) + JPEG[SCAN:], "damaged JPEG segments"),
    "a segment longer than the file": (JPEG[:4] + b"\xff\xff" + JPEG[6:], "damaged JPEG segments"),
    "an end in the middle": (JPEG[: SCAN + 50] + b"\xff\xd9" + JPEG[SCAN + 52 :], "inside the scan"),
    "two pictures": (JPEG + JPEG, "inside the scan"),
    "a stray marker": (JPEG[: SCAN + 50] + b"\xff\xc4" + JPEG[SCAN + 52 :], "inside the scan"),
    "an HTTP error": (b'{"error": 429}', "no start-of-image marker"),
}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("frame", "found"), TORN.values(), ids=TORN)
def test_torn_bitstreams_are_rejected(tmp_path: Path, frame: bytes, found: str, photometric: str) -> None:
    dataset = reference.build_jpeg(NOISE, frame, PhotometricInterpretation=photometric)
    with pytest.raises(DicomRejectedError, match=found) as caught:
        jpeg_frame(through_a_file(dataset, tmp_path))
    assert caught.value.reason == Reason.BAD_FRAME
    assert caught.value.phase == "frame"


SCAN_DATA = JPEG[SCAN : JPEG.rindex(b"\xff\xd9")]
MIDDLE = SCAN + len(SCAN_DATA) // 2
RESTARTED = WHOLE["restart markers"]
AT_RESTART = RESTARTED.index(b"\xff\xd2")
UNDECODABLE = {
    "a cut scan with an end": JPEG[:MIDDLE] + b"\xff\xd9",
    "the last bytes lost": JPEG[: SCAN + len(SCAN_DATA) - 8] + b"\xff\xd9",
    "a hole": JPEG[:MIDDLE] + JPEG[MIDDLE + 100 :],
    "zeros in the scan": JPEG[:MIDDLE] + bytes(64) + JPEG[MIDDLE + 64 :],
    "a doubled stretch": JPEG[:MIDDLE] + JPEG[MIDDLE - 300 :],
    "more scan than blocks": JPEG[: SCAN + len(SCAN_DATA)] + b"\x5a" * 40 + b"\xff\xd9",
    "a restart marker lost": RESTARTED[:AT_RESTART] + RESTARTED[AT_RESTART + 2 :],
    "a restart marker of another number": RESTARTED[:AT_RESTART] + b"\xff\xd6" + RESTARTED[AT_RESTART + 2 :],
}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("frame", UNDECODABLE.values(), ids=UNDECODABLE)
def test_what_decoders_only_warn_of_is_rejected(tmp_path: Path, frame: bytes, photometric: str) -> None:
    # OpenCV makes a picture of each: gray, or shifted, from the damage on.
    assert cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED).shape == NOISE.shape
    dataset = reference.build_jpeg(NOISE, frame, PhotometricInterpretation=photometric)
    with pytest.raises(DicomRejectedError, match=r"does not decode|inside the scan") as caught:
        jpeg_frame(through_a_file(dataset, tmp_path))
    assert caught.value.reason == Reason.BAD_FRAME


CONTRADICTIONS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "rows": (JPEG, {"Rows": 41}),
    "columns": (JPEG, {"Columns": 1024}),
    "transposed": (JPEG, {"Rows": 56, "Columns": 40}),
    "colour in a gray file": (reference.encode_jpeg(np.dstack([NOISE] * 3)), {}),
    "gray in a colour file": (JPEG, {"SamplesPerPixel": 3}),
}


@pytest.mark.parametrize(("frame", "elements"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_bitstream_that_contradicts_the_header_is_rejected(
    tmp_path: Path, frame: bytes, elements: dict[str, Any]
) -> None:
    with pytest.raises(DicomRejectedError, match="as the DICOM header says") as caught:
        jpeg_frame(through_a_file(reference.build_jpeg(NOISE, frame, **elements), tmp_path))
    assert caught.value.reason == Reason.BAD_FRAME


def test_lossy_12_bit_jpeg_is_named_as_unsupported(tmp_path: Path) -> None:
    at = JPEG.index(b"\xff\xc0")
    dataset = reference.build_jpeg(NOISE, JPEG[: at + 1] + b"\xc1" + JPEG[at + 2 : at + 4] + b"\x0c" + JPEG[at + 5 :])
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    with pytest.raises(DicomRejectedError, match="a lossy JPEG of 12 bits") as caught:
        jpeg_frame(through_a_file(dataset, tmp_path))
    assert caught.value.reason == Reason.UNSUPPORTED
