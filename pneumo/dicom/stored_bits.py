"""The number that each stored sample stands for: its bits, PS3.5 8.1.1, and its sign.

Decoders return samples as they are stored, in a container of 8, 16 or 32 bits. What the bits above Bits Stored hold is
decided here, for every encoding:

- An overlay that the header declares there (a retired use of them) is removed.
- Copies of the sign bit, or zeros, are no part of the number.
- Anything else is a number that Bits Stored has no room for. It is kept, and not cut down to its low bits, which would
  show what is brightest as black; ``is_beyond`` tells which values these are.

A codestream has a precision of its own. When that is lower than Bits Stored, it is the number of bits.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pneumo.dicom.encodings.encoding import unused_low_bits
from pneumo.dicom.values import integer, tags

_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
OVERLAY_ELEMENTS = tags(group << 16 | 0x0102 for group in _OVERLAY_GROUPS)
"""Overlay Bit Position of every overlay, PS3.3 C.9.2 of 2004."""

Integers = npt.NDArray[np.integer]


class StoredBits(NamedTuple):
    """How many bits a sample has, and whether it is signed."""

    bits: int
    is_signed: bool

    @property
    def lowest(self) -> int:
        """The lowest number that fits into the bits."""
        return -(1 << self.bits - 1) if self.is_signed else 0

    @property
    def highest(self) -> int:
        """The highest number that fits into the bits."""
        return (1 << self.bits - self.is_signed) - 1

    def is_beyond(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of the values do not fit into the bits."""
        return (values < self.lowest) | (values > self.highest)


def find(dataset: Dataset, precision: int) -> StoredBits:
    """Return the bits of a dataset's samples.

    Args:
        dataset: An image.
        precision: Bits of a sample in the codestream, 0 when the encoding has none.
    """
    declared = integer(dataset, "BitsStored") or precision or integer(dataset, "BitsAllocated")
    return StoredBits(min(declared, precision or declared), integer(dataset, "PixelRepresentation") == 1)


def numbers_of(dataset: Dataset, stored: Integers, bits: StoredBits) -> npt.NDArray[np.int64]:
    """Return the numbers that stored samples stand for, which need not fit into the bits.

    Args:
        dataset: The image that they come from.
        stored: Samples as decoded, in the container that they are stored in; of any shape.
        bits: The bits of a sample.
    """
    container = 8 * stored.dtype.itemsize
    whole = stored.astype(np.int64) & ((1 << container) - 1) & ~_overlay_bits(dataset, bits.bits)
    if not bits.is_signed:
        return whole
    number = _signed(whole, bits.bits)
    is_extended = (whole >> bits.bits == 0) | (_signed(whole, container) == number)
    return np.where(is_extended, number, _signed(whole, container))


def _signed(values: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """Return the lowest bits of the values as signed numbers."""
    half = 1 << bits - 1
    return ((values + half) & ((1 << bits) - 1)) - half


def _overlay_bits(dataset: Dataset, bits: int) -> int:
    """Return a mask of the bits above the stored ones that the header gives to overlays."""
    below = max(0, unused_low_bits(dataset))
    positions = (integer(dataset, tag) - below for tag in OVERLAY_ELEMENTS)
    return sum({1 << position for position in positions if bits <= position < 32})
