"""Lookup tables: PS3.3 C.11.1.1 (modality), C.11.2.1.1 (VOI), C.11.6.1 (presentation), C.7.6.3.1.5 (palettes).

Where a file breaks these rules in a way that leaves its meaning clear, the table is used and a note says so. Where it
contradicts itself, it is rejected.

- The first mapped value is a word of 16 bits; whether that is signed depends on the input. When, read as the standard
  says, the table lies wholly beside the input's range, it is moved by 2^16 into the range if that is possible: some
  writers take the other sign.
- Entries are unsigned, whatever their VR.
- Entries of 8 bits are packed two in a word, the first in its low byte, or have a word each.
- A number of bits that is not 8 to 16, or too low for the entries, is replaced by the bits of the highest entry.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pneumo.dicom.rejection import CORRECT_HEADER, FileRejectedError, Reason
from pneumo.dicom.values import packed_bytes, vr, words

WORD = 1 << 16

Values = npt.NDArray[np.float64]


class InputRange(NamedTuple):
    """The values that can get into a table."""

    lowest: float
    highest: float


class Descriptor(NamedTuple):
    """The three values of a LUT Descriptor, all of them unsigned."""

    length: int
    """Number of entries; 0 means 65536."""
    first: int
    """First value that is mapped, modulo 2^16."""
    bits: int
    """Bits of an entry."""


class LookupTable(NamedTuple):
    """A table from its first mapped value on; values beyond an end get the entry at that end."""

    first: int
    entries: Values
    white: int
    """The highest level that an entry can have."""

    def look_up(self, values: Values) -> Values:
        """Return the entries for values, which are rounded."""
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[places])


def read(item: Dataset, range_: InputRange, notes: list[str]) -> LookupTable:
    """Read the table in an item of a LUT sequence.

    Args:
        item: The item.
        range_: The values that can get into it.
        notes: Gets a note for each rule of the standard that the table breaks.

    Raises:
        FileRejectedError: When descriptor and data contradict each other.
    """
    descriptor = read_descriptor(item, "LUTDescriptor")
    entries = read_entries(item, "LUTData", descriptor)
    if vr(item, "LUTData") == "SS" and descriptor.bits < 16 and entries.max() >= WORD // 2:
        raise bad_table("a lookup table with negative entries", f"unsigned entries of {descriptor.bits} bits")
    white = white_level(descriptor.bits, entries, notes)
    return LookupTable(first_mapped(descriptor, range_), entries.astype(np.float64), white)


def read_descriptor(dataset: Dataset, keyword: str) -> Descriptor:
    """Read a descriptor, whose VR may be US, SS or, in implicit VR, unknown.

    Raises:
        FileRejectedError: When it does not have three values.
    """
    found = words(dataset, keyword)
    if len(found) != 3:
        raise bad_table(f"a {keyword} of {len(found)} values", "three")
    count, first, bits = map(int, found)
    return Descriptor(count or WORD, first, bits)


def read_entries(dataset: Dataset, keyword: str, descriptor: Descriptor) -> npt.NDArray[np.uint16]:
    """Read as many entries as the descriptor says.

    Raises:
        FileRejectedError: When there are fewer.
    """
    found = words(dataset, keyword)
    if descriptor.bits <= 8 and len(found) < descriptor.length:
        found = packed_bytes(dataset, keyword).astype(np.uint16)
    if len(found) < descriptor.length:
        raise bad_table(f"a lookup table of {len(found)} entries", f"{descriptor.length}, as its descriptor says")
    return found[: descriptor.length]


def white_level(bits: int, entries: npt.NDArray[np.uint16], notes: list[str]) -> int:
    """Return the highest level of entries: that of their declared bits, or of their own if those are wrong."""
    needed = max(1, int(entries.max()).bit_length())
    if not 8 <= bits <= 16:
        notes.append("lookup table without a valid number of bits shown in the range of its entries")
    elif needed > bits:
        notes.append("lookup table with entries above its number of bits shown in the range of its entries")
    else:
        needed = bits
    return (1 << needed) - 1


def first_mapped(descriptor: Descriptor, range_: InputRange) -> int:
    """Return the first value that a table maps, with the sign that the input has."""
    count, first, _ = descriptor
    standard = first - WORD if range_.lowest < 0 and first >= WORD // 2 else first
    if standard <= range_.highest and standard + count > range_.lowest:
        return standard
    # The lowest of the values that are the same modulo 2^16 with which the table reaches the range.
    moved = first + WORD * -int((first + count - 1 - range_.lowest) // WORD)
    return moved if moved <= range_.highest else standard


def bad_table(found: str, expected: str) -> FileRejectedError:
    """Return the rejection of a table that contradicts itself."""
    return FileRejectedError(Reason.BAD_FRAME, "render", found, expected, CORRECT_HEADER)
