"""RLE Lossless: decoded by pydicom, which refuses damaged segments."""

import numpy as np
import pytest
import reference_files as reference
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame

from pneumo.dicom import image_file
from pneumo.dicom.encodings import rle
from pneumo.dicom.rejection import FileRejectedError, Reason


def compressed(dtype: str, bits: int) -> Dataset:
    return reference.build(reference.gradient(dtype, bits), bits, "rle")


@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 12), ("i2", 16)])
def test_the_stored_values_come_back(dtype: str, bits: int) -> None:
    stored = rle.decode(compressed(dtype, bits))
    assert stored.dtype == np.dtype(dtype)
    assert np.array_equal(stored, reference.gradient(dtype, bits))


def test_a_high_bit_above_the_stored_bits_is_refused() -> None:
    dataset = compressed("u2", 12)
    dataset.HighBit = 15
    with pytest.raises(FileRejectedError, match="12 bits stored of 16 with the highest at 15"):
        rle.decode(dataset)


FRAME = get_frame(compressed("u2", 12).PixelData, 0, number_of_frames=1)
DAMAGED = {
    "cut off": FRAME[: len(FRAME) // 2],
    "no header": FRAME[64:],
    "three segments": b"\3" + FRAME[1:],
    "a segment behind the end": FRAME[:8] + b"\xff\xff\xff\x7f" + FRAME[12:],
}


@pytest.mark.parametrize("frame", DAMAGED.values(), ids=DAMAGED)
def test_damaged_segments_are_refused(tmp_path, frame: bytes) -> None:
    dataset = compressed("u2", 12)
    dataset.PixelData = encapsulate([frame])
    with pytest.raises(FileRejectedError) as caught:
        image_file.read(reference.save(dataset, tmp_path / "x.dcm"))
    assert caught.value.reason == Reason.BAD_FRAME
