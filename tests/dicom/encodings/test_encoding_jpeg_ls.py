"""JPEG-LS: the header is checked like that of lossless JPEG, and gdcm decodes it."""

from pathlib import Path

import numpy as np
import pytest
import reference_encodings as encodings
import reference_files as reference
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame

from pneumo.dicom import image_file
from pneumo.dicom.encodings import jpeg_ls
from pneumo.dicom.rejection import FileRejectedError, Reason

VALUES = reference.gradient("u2", 12)


def compressed(path: Path, encoding: str = "JPEG-LS") -> Dataset:
    return dcmread(encodings.save(reference.build(VALUES, 12), encoding, path))


@pytest.mark.parametrize("encoding", ["JPEG-LS", "JPEG-LS near-lossless"])
def test_the_stored_values_come_back(tmp_path: Path, encoding: str) -> None:
    dataset = compressed(tmp_path / "x.dcm", encoding)
    assert dataset.file_meta.TransferSyntaxUID in jpeg_ls.ENCODING.transfer_syntaxes
    jpeg_ls.check(dataset)
    assert np.array_equal(jpeg_ls.decode(dataset), VALUES)


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "SamplesPerPixel"])
def test_a_size_that_contradicts_the_header_is_refused(tmp_path: Path, keyword: str) -> None:
    dataset = compressed(tmp_path / "x.dcm")
    dataset[keyword].value += 1
    with pytest.raises(FileRejectedError, match="as the DICOM header says"):
        jpeg_ls.check(dataset)


def test_a_scan_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    dataset = compressed(tmp_path / "x.dcm")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: len(frame) * 2 // 3] + b"\xff\xd9"])
    with pytest.raises(FileRejectedError) as caught:
        image_file.read(reference.save(dataset, tmp_path / "y.dcm"))
    assert caught.value.reason == Reason.BAD_FRAME
