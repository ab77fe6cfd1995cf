"""DICOM files of every kind that a segmentation may have to refer to."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

ROWS, COLUMNS = 50, 71
UIDS = {
    "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.5.1",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.5.2",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.5.3",
}
PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "P-17",
    "PatientBirthDate": "19700102",
    "PatientSex": "F",
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "StudyID": "S1",
    "AccessionNumber": "A-1",
    "ReferringPhysicianName": "Roe^John",
}
KINDS: dict[str, dict[str, Any]] = {
    "secondary capture, JPEG": {"syntax": JPEGBaseline8Bit, "PixelSpacing": [0.143, 0.143]},
    "CR, pixels not square": {"SOPClassUID": ComputedRadiographyImageStorage, "PixelSpacing": [0.2, 0.1]},
    "DX, MONOCHROME1, spacing at the detector": {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "Modality": "DX",
        "PhotometricInterpretation": "MONOCHROME1",
        "PresentationIntentType": "FOR PRESENTATION",
        "ImagerPixelSpacing": [0.15, 0.15],
        "PatientOrientation": ["L", "F"],
        "bits": 12,
    },
    "DX with a frame of reference": {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "Modality": "DX",
        "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.5.4",
        "PixelSpacing": [0.14, 0.14],
    },
    "mirrored and turned": {"PatientOrientation": ["F", "R"], "syntax": ImplicitVRLittleEndian},
    "several frames": {"SOPClassUID": MultiFrameGrayscaleByteSecondaryCaptureImageStorage, "frames": 2},
    "several frames, of a class without": {"frames": 2},
    "big endian": {"syntax": ExplicitVRBigEndian, "bits": 16},
    "deflated": {"syntax": DeflatedExplicitVRLittleEndian},
    "of a private class": {"SOPClassUID": UID("1.2.276.0.99999.1.2.3")},
    "without anything optional": dict.fromkeys(PATIENT),
    "another alphabet": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    },
    "values that are none": {
        "PatientBirthDate": "02.01.1970",
        "PatientSex": "female",
        "StudyTime": "ten",
        "StudyDate": "2. 1. 2026",
    },
    "orientation of one value": {"PatientOrientation": "L"},
    "orientation that is none": {"PatientOrientation": ["L", "up"]},
    "identity that is none": {
        "PatientName": "Doe\x1b^Ja\nne",
        "PatientID": "P-17\\P-18",
        "StudyID": "S1\r\n",
        "StudyDescription": "CHEST\\" + "PA " * 30,
        "AccessionNumber": "A" * 300,
        "ReferringPhysicianName": "Roe^" * 9 + "R" * 90,
    },
}
WRITTEN: dict[str, dict[str, str]] = {
    "values that are none": {"PatientBirthDate": "", "PatientSex": "", "StudyDate": "", "StudyTime": ""},
    "orientation of one value": {"PatientOrientation": ""},
    "orientation that is none": {"PatientOrientation": ""},
    "identity that is none": {
        "PatientName": "Doe^Jane",
        "PatientID": "",
        "StudyID": "S1",
        "StudyDescription": ("CHEST " + "PA " * 30)[:64].strip(),
        "AccessionNumber": "",
        "ReferringPhysicianName": ("Roe^" * 4 + "Roe " * 5 + "R" * 90)[:64],
    },
}
"""What is written of the elements of a kind that are not valid, in their order in a note."""


def write(path: Path, kind: dict[str, Any]) -> Dataset:
    """Write a DICOM of a kind: a gradient with a bright corner, at the first row and column."""
    given = dict(kind)
    syntax, bits, frames = (given.pop(name, default) for name, default in
                            (("syntax", ExplicitVRLittleEndian), ("bits", 8), ("frames", 1)))  # fmt: skip
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    given = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "CR", **UIDS, **PATIENT, **given}
    pixels = pixels_of(bits)
    with config.disable_value_validation():
        for keyword, value in given.items():
            if value is not None:
                setattr(dataset, keyword, value)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel = 1
        if "PhotometricInterpretation" not in dataset:
            dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated = pixels.dtype.itemsize * 8
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
        if frames > 1:
            dataset.NumberOfFrames = frames
        data = pixels.astype(pixels.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes() * frames
        if syntax == JPEGBaseline8Bit:
            dataset.LossyImageCompression = "01"
            data = encapsulate([cv2.imencode(".jpg", pixels)[1].tobytes()])
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
        dataset.save_as(path, enforce_file_format=True)
    return dataset


def pixels_of(bits: int) -> np.ndarray:
    """Return (50, 71) stored values."""
    pixels = np.linspace(0, (1 << bits) // 2, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    pixels[:10, :10] = (1 << bits) - 1
    return pixels.astype(np.uint8 if bits == 8 else np.uint16)
