"""What an encoding is: its transfer syntaxes, the check of its bitstream and its decoder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from pneumo.dicom.jpeg_segments import JpegHeader
from pneumo.dicom.rejection import CORRECT_HEADER, FileRejectedError, Reason
from pneumo.dicom.values import integer, transfer_syntax

StoredValues = npt.NDArray[np.integer]
"""(rows, columns), or (rows, columns, 3) of RGB for a color image; in the type in which they are stored."""


FLAT = "flat image: every pixel has the same level"
"""The note of an image that shows nothing."""


class CheckedJpeg(NamedTuple):
    """A JPEG that has been checked."""

    frame: bytes
    header: JpegHeader


@dataclass(frozen=True, kw_only=True)
class Bitstream:
    """What the check of a bitstream found."""

    precision: int = 0
    """Bits of a sample, 0 when the bitstream does not say."""
    notes: tuple[str, ...] = ()
    """What a user of the data may want to know."""
    small: npt.NDArray[np.uint8] | None = field(default=None, compare=False)
    """(rows / 8, columns / 8) of the gray image, where the check has decoded it."""
    jpeg: CheckedJpeg | None = field(default=None, compare=False)
    """What was checked: the first frame of a JPEG of 8 bits."""


def no_check(dataset: Dataset) -> Bitstream:
    """Check nothing, for a decoder that refuses all that is damaged."""
    return Bitstream()


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """One family of transfer syntaxes with the same bitstream format."""

    transfer_syntaxes: tuple[UID, ...]
    check: Callable[[Dataset], Bitstream] = no_check
    """Checks the first frame's bitstream before a decoder gets it.

    Raises ``FileRejectedError`` when it is damaged or contradicts the DICOM header, and whatever pydicom raises on
    damaged encapsulation.
    """
    decode: Callable[[Dataset], StoredValues]
    """Decodes the first frame; the bits above the stored ones stay as they are.

    Raises ``FileRejectedError`` when High Bit contradicts Bits Stored or the decoder returned part of an image, and
    whatever pydicom and its decoders raise on damaged data.
    """


def decode_compressed(dataset: Dataset, plugin: str, frame: bytes | None = None, precision: int = 0) -> StoredValues:
    """Decode the first frame with one of pydicom's decoder plugins.

    Args:
        dataset: An image in a compressed transfer syntax.
        plugin: The plugin's name. Without one, pydicom tries gdcm first, which ends the process on some damaged
            bitstreams, and the result depends on which plugins are installed.
        frame: The frame's bitstream, None for that in the dataset.
        precision: Bits of a sample in the bitstream, which the header may contradict; 0 for those of the header.
    """
    check_high_bit(dataset)
    options: dict[str, Any] = dict(as_pixel_options(dataset))
    if precision:
        options |= {"bits_allocated": container(precision), "bits_stored": precision}
    source: bytes | Dataset = dataset
    if frame is not None:
        source, options["number_of_frames"] = encapsulate([frame]), 1
        options.pop("extended_offsets", None)
    options |= {"index": 0, "decoding_plugin": plugin, "correct_unused_bits": False}
    return get_decoder(UID(transfer_syntax(dataset))).as_array(source, **options)[0]


def container(precision: int) -> int:
    """Return the number of bits in which decoders return a sample."""
    return 8 if precision <= 8 else 16 if precision <= 16 else 32


def header_notes(dataset: Dataset, precision: int) -> tuple[str, ...]:
    """Return a note when the precision of a codestream is not that of the DICOM header.

    Encoders in use take Bits Allocated for it where Bits Stored is lower, which makes no difference to the values.
    """
    stored, allocated = integer(dataset, "BitsStored"), integer(dataset, "BitsAllocated")
    if precision in (stored, allocated) and allocated == container(precision):
        return ()
    return (f"codestream of {precision} bits under {stored} bits stored in {allocated}",)


def check_high_bit(dataset: Dataset) -> None:
    """Check that the stored bits are the lowest: it is not defined whether a decoder shifts them down.

    Raises:
        FileRejectedError: When they are not.
    """
    if unused_low_bits(dataset):
        raise high_bit_rejection(dataset)


def unused_low_bits(dataset: Dataset) -> int:
    """Return how many bits of a sample are below the stored ones, PS3.5 8.1.1; negative for a High Bit too low."""
    bits = integer(dataset, "BitsStored")
    return integer(dataset, "HighBit", bits - 1) + 1 - bits if bits else 0


def high_bit_rejection(dataset: Dataset) -> FileRejectedError:
    """Return the rejection of an image whose High Bit contradicts its Bits Stored or its encoding."""
    bits, allocated, high = (integer(dataset, keyword) for keyword in ("BitsStored", "BitsAllocated", "HighBit"))
    found = f"{bits} bits stored of {allocated} with the highest at {high}"
    return FileRejectedError(Reason.UNSUPPORTED, "render", found, f"the highest at {bits - 1}", CORRECT_HEADER)
