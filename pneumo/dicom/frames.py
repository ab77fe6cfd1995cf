"""Frames that need no rendering: 8-bit JPEG Baseline monochrome, passed through byte for byte but for metadata."""

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSTransferSyntaxes

from pneumo.dicom import jpeg, jpeg_metadata
from pneumo.dicom.attributes import transfer_syntax
from pneumo.dicom.rejection import DicomRejectedError, Reason
from pneumo.dicom.values import integer, numbers, tags, text

LOSSY_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)
LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)
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
"""Elements that make the picture differ from the stored values."""


def jpeg_frame(dataset: Dataset) -> bytes | None:
    """Return a frame that is already the picture, or None when it must be rendered.

    That is an unsigned 8-bit MONOCHROME2 frame in JPEG Baseline, the only one of the file, without a rescale,
    window, lookup table or padding value, whose own bitstream says the same. Its bytes are returned as they are, but
    without comments and application segments where it has any.

    Raises:
        Rejected: When the bitstream is torn or contradicts the header, whether or not it would be passed through.
    """
    syntax = transfer_syntax(dataset)
    if syntax not in (*LOSSY_JPEG, *LOSSLESS_JPEG, *JPEGLSTransferSyntaxes):
        return None
    frame = first_frame(dataset)
    header = jpeg.parse(frame)
    check_size(dataset, header.rows, header.columns, header.components)
    if syntax not in LOSSY_JPEG:
        # Some values end gdcm's process.
        allocated = integer(dataset, "BitsAllocated")
        if header.precision > allocated or allocated not in (8, 16):
            raise jpeg.bad_frame(f"a JPEG of {header.precision} bits in {allocated}", "bits that fit into 8 or 16")
        return None
    if header.precision != 8:
        raise DicomRejectedError(
            Reason.UNSUPPORTED,
            "frame",
            f"a lossy JPEG of {header.precision} bits",
            "8 bits, or another compression",
            "convert the file to an uncompressed transfer syntax, for example with dcmdjpeg",
        )
    jpeg.check_decodes(frame)
    plain = (
        syntax == JPEGBaseline8Bit
        and header.process == jpeg.BASELINE
        and header.components == 1
        and not header.oriented
    )
    return jpeg_metadata.strip(frame) if plain and _is_picture(dataset) else None


def check_size(dataset: Dataset, rows: int, columns: int, components: int) -> None:
    """Check what a bitstream says of its size.

    Raises:
        Rejected: When the DICOM header says otherwise.
    """
    declared = integer(dataset, "Rows"), integer(dataset, "Columns"), integer(dataset, "SamplesPerPixel", 1)
    if (rows, columns, components) != declared:
        raise jpeg.bad_frame(
            f"a JPEG of {rows} x {columns} with {components} component(s)",
            f"{declared[0]} x {declared[1]} with {declared[2]}, as the DICOM header says",
        )


def _is_picture(dataset: Dataset) -> bool:
    """Return whether the stored values are what is to be seen."""
    return (
        text(dataset, "PhotometricInterpretation") == "MONOCHROME2"
        and integer(dataset, "BitsAllocated") == integer(dataset, "BitsStored") == 8
        and integer(dataset, "HighBit", 7) == 7
        and integer(dataset, "PixelRepresentation") == 0
        and frames(dataset) == 1
        and text(dataset, "PresentationLUTShape") in ("", "IDENTITY")
        and _number(dataset, "RescaleSlope", 1) == 1
        and _number(dataset, "RescaleIntercept", 0) == 0
        and DISPLAY_ELEMENTS.isdisjoint(dataset.keys())
    )


def frames(dataset: Dataset) -> int:
    """Return the number of frames; 1 unless the header says otherwise."""
    count = numbers(dataset, "NumberOfFrames")
    return max(1, int(count[0])) if count else 1


def _number(dataset: Dataset, keyword: str, default: float) -> float | None:
    """Return a single number, ``default`` when it is missing and None when it is malformed."""
    if not text(dataset, keyword):
        return default
    values = numbers(dataset, keyword)
    return values[0] if len(values) == 1 else None


def first_frame(dataset: Dataset) -> bytes:
    """Return the bitstream of the first frame of an encapsulated dataset."""
    data = dataset.get_item("PixelData")
    assert data is not None
    assert isinstance(data.value, bytes)
    return get_frame(data.value, 0, number_of_frames=frames(dataset))
