"""Encapsulated uncompressed frames, from a file."""

from pathlib import Path

import numpy as np
import pytest
import reference_files as reference
from decoded_levels import shown, spread
from pydicom.encaps import encapsulate

from pneumo.dicom import image_file
from pneumo.dicom.encodings import encapsulated
from pneumo.dicom.rejection import FileRejectedError, Reason

(SYNTAX,) = encapsulated.ENCODING.transfer_syntaxes


def save(values: np.ndarray, bits: int, path: Path, cut: int = 0) -> Path:
    dataset = reference.build(values, bits)
    dataset.file_meta.TransferSyntaxUID = SYNTAX
    dataset.PixelData = encapsulate([values.tobytes()[: values.nbytes - cut]])
    dataset["PixelData"].is_undefined_length = True
    return reference.save(dataset, path)


@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 12), ("i2", 16)])
def test_the_values_are_those_of_the_file(tmp_path: Path, dtype: str, bits: int) -> None:
    values = reference.gradient(dtype, bits)
    path = save(values, bits, tmp_path / "x.dcm")
    assert np.array_equal(shown(path), spread(values, bits))
    assert image_file.read(path).attributes.transfer_syntax == SYNTAX


def test_a_frame_that_is_too_short_is_rejected(tmp_path: Path) -> None:
    path = save(reference.gradient("u2", 12), 12, tmp_path / "x.dcm", cut=2)
    with pytest.raises(FileRejectedError) as caught:
        image_file.read(path)
    assert caught.value.reason == Reason.BAD_FRAME
