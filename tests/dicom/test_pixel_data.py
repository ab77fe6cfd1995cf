"""The first frame of encapsulated pixel data, and the size that its bitstream declares."""

import pytest
import reference_files as reference
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from pneumo.dicom.pixel_data import check_size, first_frame, number_of_frames
from pneumo.dicom.rejection import FileRejectedError, Reason

PIXELS = reference.gradient("u1", 8)
FRAMES = [b"first frame!", b"second frame"]


def encapsulated(**options: object) -> Dataset:
    dataset = reference.build_jpeg(PIXELS, NumberOfFrames=len(FRAMES))
    dataset.PixelData = encapsulate(FRAMES, **options)
    return dataset


@pytest.mark.parametrize("options", [{}, {"has_bot": False}, {"fragments_per_frame": 2}], ids=str)
def test_the_first_of_several_frames_is_returned(options: dict[str, object]) -> None:
    assert first_frame(encapsulated(**options)).rstrip(b"\0") == FRAMES[0]


COUNTS = {"missing": (None, 1), "one": ("1", 1), "several": ("3", 3), "zero": ("0", 1), "negative": ("-2", 1)}


@pytest.mark.parametrize(("value", "count"), COUNTS.values(), ids=COUNTS)
def test_the_number_of_frames_is_at_least_one(value: str | None, count: int) -> None:
    more = {} if value is None else {"NumberOfFrames": value}
    assert number_of_frames(reference.build(PIXELS, **more)) == count


@pytest.mark.parametrize("size", [(41, 67, 1), (40, 66, 1), (67, 40, 1), (40, 67, 3)])
def test_another_size_than_the_header_has_is_refused(size: tuple[int, int, int]) -> None:
    dataset = reference.build(PIXELS)
    check_size(dataset, 40, 67, 1)
    with pytest.raises(FileRejectedError, match="expected 40 x 67 with 1, as the DICOM header says") as caught:
        check_size(dataset, *size)
    assert caught.value.reason == Reason.BAD_FRAME
