"""The first frame of encapsulated pixel data (PS3.5 A.4), and whether its bitstream agrees with the DICOM header."""

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

from pneumo.dicom.rejection import CORRECT_HEADER, FETCH_AGAIN, FileRejectedError, Reason
from pneumo.dicom.values import integer, numbers
from pneumo.runtime.errors import counted


def number_of_frames(dataset: Dataset) -> int:
    """Return Number of Frames; 1 when it is missing or malformed."""
    count = numbers(dataset, "NumberOfFrames")
    return max(1, int(count[0])) if count else 1


def first_frame(dataset: Dataset) -> bytes:
    """Return the bitstream of the first frame of an encapsulated dataset."""
    data = dataset.get_item("PixelData")
    assert data is not None
    assert isinstance(data.value, bytes)
    return get_frame(data.value, 0, number_of_frames=number_of_frames(dataset))


def check_size(dataset: Dataset, rows: int, columns: int, components: int) -> None:
    """Check the size that a JPEG or JPEG 2000 bitstream declares.

    Raises:
        FileRejectedError: When the DICOM header declares another size.
    """
    declared = integer(dataset, "Rows"), integer(dataset, "Columns"), integer(dataset, "SamplesPerPixel", 1)
    if (rows, columns, components) != declared:
        raise contradiction(
            f"a JPEG of {rows} x {columns} with {counted(components, 'component')}",
            f"{declared[0]} x {declared[1]} with {declared[2]}, as the DICOM header says",
        )


def bad_frame(found: str, expected: str) -> FileRejectedError:
    """Return the rejection of pixel data that is damaged."""
    return FileRejectedError(Reason.BAD_FRAME, "frame", found, expected, FETCH_AGAIN)


def contradiction(found: str, expected: str) -> FileRejectedError:
    """Return the rejection of whole pixel data that contradicts the DICOM header."""
    return FileRejectedError(Reason.BAD_FRAME, "frame", found, expected, CORRECT_HEADER)
