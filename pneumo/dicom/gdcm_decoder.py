"""gdcm: the only decoder of lossless JPEG, of lossy JPEG of 12 bits and of its retired processes that is installed.

Where a scan is cut off or damaged, libjpeg, which is inside gdcm, fills in values and returns the image; what it found
it writes to standard error. So standard error is read while it decodes.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pneumo.dicom.encodings.encoding import container
from pneumo.dicom.pixel_data import bad_frame
from pneumo.dicom.values import integer, transfer_syntax

_DAMAGE = re.compile(
    rb"Corrupt JPEG data(?!: \d+ extraneous bytes before marker 0xd9)|Premature end of JPEG|Inconsistent progression"
)
"""Warnings of libjpeg about entropy-coded data. What stands between the last value and the end is no damage."""
_WHOLE = "a whole JPEG bitstream"
_STANDARD_ERROR = 2
_lock = Lock()
"""Standard error belongs to the process."""


def decode_jpeg(dataset: Dataset, frame: bytes, precision: int) -> npt.NDArray[np.unsignedinteger]:
    """Decode a JPEG bitstream of one component, whatever its process.

    Args:
        dataset: The image, with the size that the bitstream has.
        frame: The bitstream.
        precision: Bits of a sample, as the bitstream says; gdcm crashes on others.

    Returns:
        (rows, columns), of 8 or 16 bits.

    Raises:
        FileRejectedError: When it is damaged.
    """
    image = _image(dataset, frame, precision)
    with damage_refused():
        try:
            # gdcm returns bytes as text.
            data = image.GetBuffer().encode("utf-8", "surrogateescape")
        except Exception:
            raise bad_frame("JPEG data that does not decode", _WHOLE) from None
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    bits = container(precision)
    if len(data) != rows * columns * bits // 8:
        raise bad_frame("JPEG data that does not decode to the image", _WHOLE)
    return np.frombuffer(data, f"<u{bits // 8}").reshape(rows, columns)


@contextmanager
def damage_refused() -> Iterator[None]:
    """Refuse what libjpeg finds in the bitstreams that gdcm decodes inside of this context.

    Raises:
        FileRejectedError: At the end, when it found damage.
    """
    with _lock, os.fdopen(os.memfd_create("stderr"), "r+b") as kept:
        saved = os.dup(_STANDARD_ERROR)
        os.dup2(kept.fileno(), _STANDARD_ERROR)
        try:
            yield
        finally:
            os.dup2(saved, _STANDARD_ERROR)
            os.close(saved)
        # What was written has moved the file's offset, which both descriptors share.
        kept.seek(0)
        if _DAMAGE.search(kept.read()):
            raise bad_frame("JPEG data that ends before the image does, or is damaged", _WHOLE)


def _image(dataset: Dataset, frame: bytes, precision: int):  # type: ignore[no-untyped-def]
    """Return gdcm's image around a frame."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    pixel_data = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    pixel_data.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((integer(dataset, "Columns"), integer(dataset, "Rows"), 1))
    image.SetDataElement(pixel_data)
    gray = gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    image.SetPhotometricInterpretation(gray)
    syntax = gdcm.TransferSyntax.GetTSType(transfer_syntax(dataset))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(gdcm.PixelFormat(1, container(precision), precision, precision - 1, 0))
    return image
