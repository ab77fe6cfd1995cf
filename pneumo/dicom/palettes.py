"""Palettes: stored values to RGB, PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6, and segmented palettes, C.7.9.2."""

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from pneumo.dicom.lookup_tables import (
    Descriptor,
    InputRange,
    LookupTable,
    Values,
    bad_table,
    first_mapped,
    read_descriptor,
    read_entries,
    white_level,
)
from pneumo.dicom.values import packed_bytes, tags, words

_COLORS = ("Red", "Green", "Blue")
PALETTE_ELEMENTS = tags(
    (
        *(f"{color}PaletteColorLookupTableDescriptor" for color in _COLORS),
        *(f"{color}PaletteColorLookupTableData" for color in _COLORS),
        *(f"Segmented{color}PaletteColorLookupTableData" for color in _COLORS),
    )
)
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
"""Opcodes of segments."""

Entries = npt.NDArray[np.uint16]


def to_rgb(dataset: Dataset, numbers: npt.NDArray[np.int64], range_: InputRange, notes: list[str]) -> Values:
    """Map the numbers of pixels through the palette.

    Args:
        dataset: The image with its palette.
        numbers: (rows, columns).
        range_: The numbers that a pixel can have.
        notes: Gets a note for each rule of the standard that the palette breaks.

    Returns:
        (rows, columns, 3), 0 to 1.

    Raises:
        FileRejectedError: When the palette contradicts itself.
    """
    descriptors = [read_descriptor(dataset, f"{color}PaletteColorLookupTableDescriptor") for color in _COLORS]
    bits = {descriptor.bits for descriptor in descriptors}
    if len(bits) > 1:
        raise bad_table(f"a palette with entries of {sorted(bits)} bits", "the same number of bits in each color")
    entries = [_read(dataset, color, descriptor) for color, descriptor in zip(_COLORS, descriptors, strict=True)]
    white = white_level(bits.pop(), np.concatenate(entries), notes)
    tables = (
        LookupTable(first_mapped(descriptor, range_), table.astype(np.float64), white)
        for descriptor, table in zip(descriptors, entries, strict=True)
    )
    return np.stack([table.look_up(numbers.astype(np.float64)) for table in tables], axis=-1) / white


def _read(dataset: Dataset, color: str, descriptor: Descriptor) -> Entries:
    """Return the entries of one color, from a table or from segments."""
    keyword = f"{color}PaletteColorLookupTableData"
    segmented = f"Segmented{keyword}"
    if not len(words(dataset, segmented)) or len(words(dataset, keyword)):
        return read_entries(dataset, keyword, descriptor)
    is_packed = descriptor.bits <= 8
    codes = packed_bytes(dataset, segmented) if is_packed else words(dataset, segmented)
    entries = _Segments([int(code) for code in codes], 1 if is_packed else 2, descriptor.length).expand()
    if len(entries) < descriptor.length:
        raise bad_table(f"a palette of {len(entries)} entries", f"{descriptor.length}, as its descriptor says")
    return np.array(entries[: descriptor.length], np.uint16)


class _Segments:
    """A table in segments.

    Args:
        codes: Opcodes, lengths and values, bytes or words.
        width: Bytes of a code.
        count: Number of entries after which the rest is not needed.
    """

    def __init__(self, codes: list[int], width: int, count: int) -> None:
        self.codes, self.width, self.count = codes, width, count
        self.entries = list[int]()

    def expand(self) -> list[int]:
        """Return the entries."""
        at = 0
        # A byte may follow that makes the length even.
        while at + 2 < len(self.codes) and len(self.entries) < self.count:
            at = self._expand_indirect(at) if self.codes[at] == _INDIRECT else self._expand(at)
        return self.entries

    def _expand(self, at: int) -> int:
        """Add the entries of a discrete or a linear segment; return the place of the next one."""
        opcode, length = self._take(at, 2)
        if opcode == _DISCRETE:
            self.entries += self._take(at + 2, length)
            return at + 2 + length
        if opcode != _LINEAR or not length:
            raise bad_table(f"a palette segment of type {opcode} and length {length}", "types 0 to 2")
        if not self.entries:
            raise bad_table("a palette that begins with a line", "a first value")
        start, (end,) = self.entries[-1], self._take(at + 2, 1)
        self.entries += [start + (2 * (end - start) * step + length) // (2 * length) for step in range(1, length + 1)]
        return at + 3

    def _expand_indirect(self, at: int) -> int:
        """Add the entries of segments that stand elsewhere, which may not point on; return the next one's place."""
        size = 4 // self.width
        _, segments, *offset = self._take(at, 2 + size)
        place = int.from_bytes(b"".join(code.to_bytes(self.width, "little") for code in offset), "little")
        place //= self.width
        for _ in range(segments):
            if len(self.entries) < self.count:
                place = self._expand(place)
        return at + 2 + size

    def _take(self, at: int, count: int) -> list[int]:
        taken = self.codes[at : at + count]
        if len(taken) < count:
            raise bad_table("a palette segment that is cut off", "whole segments")
        return taken
