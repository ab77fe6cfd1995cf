"""Build small DICOM files for the tests of this directory."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
)

IMAGE_ID = "1.2.826.0.1.3680043.8.498.77.1"
NATIVE = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big_endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
COMPRESSED = {"rle": RLELossless, "jpeg2000": JPEG2000Lossless}


def gradient(dtype: str, bits: int, rows: int = 40, columns: int = 67) -> np.ndarray:
    """Return values from the lowest to the highest of ``bits`` bits, each at least once if there are as many pixels."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype.startswith("i") else (0, (1 << bits) - 1)
    return np.linspace(low, high, rows * columns).round().astype(dtype).reshape(rows, columns)


def build(
    pixels: np.ndarray, bits: int | None = None, syntax: str = "explicit", photometric: str = "MONOCHROME2", **more: Any
) -> Dataset:
    """Return a dataset around (rows, columns) or (frames, rows, columns) or (rows, columns, 3) pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = NATIVE.get(syntax, ExplicitVRLittleEndian)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = IMAGE_ID
    dataset.PatientID = "someone"
    dataset.Modality = "CR"
    _describe_pixels(dataset, pixels, bits or pixels.dtype.itemsize * 8, photometric)
    stored = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == "big_endian" else "<"))
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    with config.disable_value_validation():
        for keyword, value in more.items():
            # An element that is there already would check its new value.
            if keyword in dataset:
                delattr(dataset, keyword)
            setattr(dataset, keyword, value)
    if syntax in COMPRESSED:
        dataset.compress(COMPRESSED[syntax], generate_instance_uid=False)
    return dataset


def _describe_pixels(dataset: Dataset, pixels: np.ndarray, bits: int, photometric: str) -> None:
    dataset.PhotometricInterpretation = photometric
    color = pixels.ndim == 3 and pixels.shape[-1] == 3
    dataset.SamplesPerPixel = 3 if color else 1
    if color:
        dataset.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.Rows, dataset.Columns = pixels.shape[:2] if color else pixels.shape[-2:]
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")


def build_jpeg(pixels: np.ndarray, frame: bytes | None = None, **more: Any) -> Dataset:
    """Return a JPEG Baseline dataset of (rows, columns) uint8 pixels, or of the frame given."""
    dataset = build(pixels)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([encode_jpeg(pixels) if frame is None else frame])
    dataset["PixelData"].VR = "OB"
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def encode_jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def save(dataset: Dataset, path: Path) -> Path:
    """Write a dataset as a DICOM file, whatever its values."""
    with config.disable_value_validation():
        dataset.save_as(path, enforce_file_format=True)
    return path


def lut_item(first: int, bits: int, entries: list[int]) -> Dataset:
    """Return an item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


def view_code(value: str, scheme: str) -> Dataset:
    """Return an item of View Code Sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "a view"
    return item
