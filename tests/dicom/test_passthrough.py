"""Frames that go into a shard byte for byte, and those that must be rendered."""

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

from pneumo.dicom import image_codec, image_file
from pneumo.dicom.encodings import registry
from pneumo.dicom.passthrough import passthrough_frame

NOISE = np.random.default_rng(7).integers(0, 256, (40, 56), dtype=np.uint8)
JPEG = reference.encode_jpeg(NOISE)
LUT = reference.lut_item(0, 8, list(range(256)))


def through_a_file(dataset: Dataset, tmp_path: Path) -> Dataset:
    return dcmread(reference.save(dataset, tmp_path / "x.dcm"))


def passed(dataset: Dataset, directory: Path) -> bytes | None:
    """Write a dataset and read it as the reader does; return the frame that passes through."""
    found = through_a_file(dataset, directory)
    return passthrough_frame(found, registry.find(found).check(found).jpeg)


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
def test_a_plain_frame_passes_through_byte_for_byte(tmp_path: Path, elements: dict[str, Any]) -> None:
    assert passed(reference.build_jpeg(NOISE, JPEG, **elements), tmp_path) == padded(JPEG)


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
def test_unusual_complete_bitstreams_pass_through(tmp_path: Path, frame: bytes) -> None:
    assert passed(reference.build_jpeg(NOISE, frame), tmp_path) == padded(frame)


def test_fragments_of_one_frame_are_joined(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(NOISE)
    dataset.PixelData = encapsulate([JPEG], fragments_per_frame=3)
    assert passed(dataset, tmp_path) == padded(JPEG)


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
def test_a_frame_with_display_elements_needs_rendering(tmp_path: Path, elements: dict[str, Any]) -> None:
    assert passed(reference.build_jpeg(NOISE, **elements), tmp_path) is None


def test_a_frame_with_exif_needs_rendering(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(NOISE, with_segment(0xE1, b"Exif\0\0MM\0*" + bytes(20)))
    assert passed(dataset, tmp_path) is None


def test_a_progressive_frame_needs_rendering(tmp_path: Path) -> None:
    frame = cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert passed(reference.build_jpeg(NOISE, frame), tmp_path) is None


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg2000"])
def test_other_transfer_syntaxes_need_rendering(tmp_path: Path, syntax: str) -> None:
    assert passed(reference.build(NOISE, syntax=syntax), tmp_path) is None


def test_several_frames_need_rendering(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(NOISE, NumberOfFrames=2)
    dataset.PixelData = encapsulate([JPEG, JPEG])
    assert passed(dataset, tmp_path) is None


SHAPES = ((1, 1), (1, 2), (1, 37), (37, 1), (2, 3), (3, 2), (7, 9), (64, 64), (255, 257))


@pytest.mark.parametrize("shape", SHAPES, ids=[f"{rows}x{columns}" for rows, columns in SHAPES])
def test_a_jpeg_of_every_shape_passes_through(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    path = reference.save(reference.build_jpeg(values), tmp_path / "x.dcm")
    image = image_file.read(path)
    assert image.image_format == "jpg"
    frame = reference.encode_jpeg(values)
    assert image.data == frame + b"\0" * (len(frame) % 2)
    # The inverse transforms of gdcm and OpenCV may round differently.
    assert np.abs(image_codec.decode(image.data).astype(int) - dcmread(path).pixel_array).max() <= 2
