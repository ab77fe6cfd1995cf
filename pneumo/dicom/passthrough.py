"""Frames that go into a shard as they are: 8-bit JPEG Baseline that already is the image to show."""

from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit

from pneumo.dicom.encodings.encoding import CheckedJpeg
from pneumo.dicom.jpeg_metadata import strip
from pneumo.dicom.jpeg_segments import BASELINE
from pneumo.dicom.pixel_data import number_of_frames
from pneumo.dicom.values import integer, numbers, tags, text, transfer_syntax

DISPLAY_ELEMENTS = tags(
    (
        "ModalityLUTSequence",
        "VOILUTSequence",
        "WindowCenter",
        "WindowWidth",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "PresentationLUTSequence",
    )
)
"""Elements that make the image to show differ from the stored values."""


def passthrough_frame(dataset: Dataset, jpeg: CheckedJpeg | None) -> bytes | None:
    """Return the frame that needs no rendering, with what its scan needs; None when it needs some.

    It is an unsigned 8-bit MONOCHROME2 frame in JPEG Baseline, the only one of the file, without a rescale, window,
    lookup table or padding value, and its own bitstream declares the same.

    Args:
        dataset: An image.
        jpeg: Its bitstream, as the encoding's ``check`` has accepted it.
    """
    if jpeg is None or transfer_syntax(dataset) != JPEGBaseline8Bit or not _is_shown_as_stored(dataset):
        return None
    header = jpeg.header
    # Some decoders rotate an image by the orientation in its Exif segment.
    is_plain = header.process == BASELINE and header.components == 1 and not header.has_exif
    return strip(jpeg.frame, header) if is_plain else None


def _is_shown_as_stored(dataset: Dataset) -> bool:
    """Return whether the stored values are the levels to show."""
    return (
        text(dataset, "PhotometricInterpretation") == "MONOCHROME2"
        and integer(dataset, "BitsAllocated") == integer(dataset, "BitsStored") == 8
        and integer(dataset, "HighBit", 7) == 7
        and integer(dataset, "PixelRepresentation") == 0
        and number_of_frames(dataset) == 1
        and text(dataset, "PresentationLUTShape") in ("", "IDENTITY")
        and _number(dataset, "RescaleSlope", 1) == 1
        and _number(dataset, "RescaleIntercept", 0) == 0
        and DISPLAY_ELEMENTS.isdisjoint(dataset.keys())
    )


def _number(dataset: Dataset, keyword: str, default: float) -> float | None:
    """Return a single number, ``default`` when it is missing and None when it is malformed."""
    if not text(dataset, keyword):
        return default
    values = numbers(dataset, keyword)
    return values[0] if len(values) == 1 else None
