"""Write chest X-rays as DICOM files with the elements of the SIIM files."""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    PYDICOM_ROOT_UID,
    UID,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from pneumo.dicom.image_codec import Pixels
from pneumo.runtime.files import publish

JPEG_QUALITY = 95
IMPLEMENTATION_UID = UID(f"{PYDICOM_ROOT_UID}7")


def write_dicom(  # noqa: PLR0913 - a file has as many attributes
    path: Path,
    pixels: Pixels,
    *,
    image_id: str,
    patient_id: str = "",
    view: str = "",
    sex: str = "",
    age: int | None = None,
    spacing_mm: float | None = None,
    syntax: Literal["jpeg", "explicit"] = "jpeg",
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2",
) -> None:
    """Write one CR secondary capture; the same arguments give the same bytes.

    Args:
        path: The file; its directory is created when missing.
        pixels: (rows, columns) ``uint8`` or ``uint16``, bright where tissue is dense. For ``MONOCHROME1`` they are
            stored inverted, so that the image looks the same.
        image_id: SOP Instance UID; as in the SIIM test files it need not be a valid UID.
        patient_id: Patient ID.
        view: View Position.
        sex: Patient's Sex.
        age: Years, written without a unit as in the SIIM files.
        spacing_mm: Distance between pixel centers in both directions.
        syntax: JPEG Baseline at quality 95 (8-bit only), or uncompressed.
        photometric: Photometric Interpretation.
    """
    assert pixels.ndim == 2
    assert pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and syntax == "explicit")
    stored = ~pixels if photometric == "MONOCHROME1" else pixels
    dataset = Dataset()
    # Ids of the SIIM test files are not valid UIDs; pydicom would warn about each.
    with config.disable_value_validation():
        dataset.file_meta = _file_meta(image_id, syntax)
        _describe(dataset, image_id, patient_id, view, sex, age)
        _set_pixels(dataset, stored, syntax, photometric, spacing_mm)
        with publish(path) as file:
            dataset.save_as(file, enforce_file_format=True)


def _file_meta(image_id: str, syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID(image_id)
    meta.TransferSyntaxUID = JPEGBaseline8Bit if syntax == "jpeg" else ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = "PNEUMO"
    return meta


def _describe(dataset: Dataset, image_id: str, patient_id: str, view: str, sex: str, age: int | None) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = UID(image_id)
    dataset.Modality = "CR"
    dataset.ConversionType = "WSD"
    dataset.PatientID = patient_id
    dataset.PatientSex = sex
    if age is not None:
        dataset.PatientAge = str(age)
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = view
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", image_id])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", image_id])


def _set_pixels(dataset: Dataset, stored: Pixels, syntax: str, photometric: str, spacing_mm: float | None) -> None:
    bits = stored.dtype.itemsize * 8
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = stored.shape
    if spacing_mm is not None:
        dataset.PixelSpacing = [round(spacing_mm, 9)] * 2
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    if syntax == "jpeg":
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
        done, jpeg = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        assert done
        dataset.PixelData = encapsulate([jpeg.tobytes()])
    else:
        data = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
