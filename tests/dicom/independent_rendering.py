"""The expected image of a file, by the sentences of PS3.3 C.7.6.3, C.11.1, C.11.2, C.11.6 and C.7.5.1, pixel by pixel.

Nothing here is shared with the code under test, which computes on distinct values and reads elements by their bytes:
here pydicom decodes pixels, converts elements and applies windows.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

WHITE = 65535
LUMA = (0.299, 0.587, 0.114)
COLORS = ("Red", "Green", "Blue")
MACROS = {
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
}


def render(dataset: Dataset, decoder: str = "") -> np.ndarray:
    """Return (rows, columns) levels of 0 to 65535, not rounded, of the first frame as a viewer shows it."""
    lift_first_frame(dataset)
    stored = stored_values(dataset, decoder)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return palette(dataset, stored) @ LUMA * WHITE
    if dataset.get("SamplesPerPixel", 1) == 3:
        # pydicom has made RGB of it.
        return stored.astype(np.float64) @ LUMA * (WHITE / ((1 << dataset.BitsStored) - 1))
    levels = gray(dataset, stored)
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        levels = WHITE - levels
    levels[padding(dataset, stored)] = 0
    return levels


@contextmanager
def unmasked(dataset: Dataset) -> Iterator[None]:
    """Keep gdcm from removing the bits of lossless JPEG above Bits Stored, which dcmtk returns."""
    stored, high = dataset.get("BitsStored"), dataset.get("HighBit")
    masked = dataset.file_meta.TransferSyntaxUID in (JPEGLossless, JPEGLosslessSV1) and dataset.BitsAllocated == 16
    if masked:
        dataset.BitsStored, dataset.HighBit = 16, 15
    try:
        yield
    finally:
        if masked:
            dataset.BitsStored, dataset.HighBit = stored, high


def lift_first_frame(dataset: Dataset) -> None:
    """Put what functional groups say about the first frame to the top level, instead of the groups.

    PS3.3 C.7.6.16.2.9 and C.7.6.16.2.10.
    """
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(dataset.get(keyword) or [])[:1]:
            for macro, elements in MACROS.items():
                for item in list(group.get(macro) or [])[:1]:
                    for name in elements:
                        dataset.pop(name, None)
                        if name in item:
                            dataset[name] = item[name]
        dataset.pop(keyword, None)


def stored_values(dataset: Dataset, decoder: str) -> np.ndarray:
    """Return the first frame's numbers; bits above High Bit count unless they are copies of the sign or an overlay."""
    high = dataset.get("HighBit")
    below = high + 1 - dataset.BitsStored if isinstance(high, int) else 0
    if dataset.get("SamplesPerPixel", 1) == 3:
        return pixel_array(dataset, index=0, decoding_plugin=decoder, correct_unused_bits=not below) >> below
    with unmasked(dataset):
        raw = pixel_array(dataset, index=0, decoding_plugin=decoder, correct_unused_bits=False)
    container, kept = 8 * raw.dtype.itemsize - below, dataset.BitsStored
    patterns = (raw.astype(np.int64) % (1 << 8 * raw.dtype.itemsize)) >> below
    for group in range(0x6000, 0x6020, 2):
        position = dataset.get((group, 0x0102))
        if position is not None and kept <= position.value - below < 32:
            patterns &= ~(1 << position.value - below)
    if dataset.PixelRepresentation == 0:
        return patterns
    unused, sign, full = patterns >> kept, patterns >> (kept - 1) & 1, (1 << (container - kept)) - 1
    value = np.where(sign == 1, patterns % (1 << kept) - (1 << kept), patterns % (1 << kept))
    whole = np.where(patterns >> (container - 1) == 1, patterns - (1 << container), patterns)
    return np.where((unused == 0) | ((unused == full) & (sign == 1)), value, whole)


def limits(dataset: Dataset) -> tuple[float, float]:
    """Return the lowest and the highest number of Bits Stored."""
    count = 1 << dataset.BitsStored
    return (-(count // 2), count // 2 - 1) if dataset.PixelRepresentation else (0, count - 1)


def is_big_endian(dataset: Dataset) -> bool:
    return dataset.original_encoding[1] is False


def octets(item: Dataset, keyword: str, big: bool) -> bytes:
    """Return a table's data in little endian; bytes of VR OB have no order."""
    value = item[keyword].value
    if not isinstance(value, bytes):
        numbers = [value] if isinstance(value, int) else list(value)
        return struct.pack(f"<{len(numbers)}H", *(number % 65536 for number in numbers))
    if not big or item[keyword].VR == "OB":
        return value
    return b"".join(value[at : at + 2][::-1] for at in range(0, len(value), 2))


def data(item: Dataset, keyword: str, count: int, bits: int, big: bool) -> list[int]:
    """Return the entries: with a byte for each where the length says so, else with a word."""
    content = octets(item, keyword, big)
    if bits <= 8 and len(content) < 2 * count:
        return list(content[:count])
    return [number for (number,) in struct.iter_unpack("<H", content[: 2 * count])]


def white(bits: int, entries: list[int]) -> int:
    """Return the highest level: 2^n - 1; with an n that cannot be, that of the highest entry's digits."""
    digits = max(1, len(f"{max(entries):b}"))
    return 2 ** (bits if 8 <= bits <= 16 and digits <= bits else digits) - 1


def mapped(values: np.ndarray, descriptor: list[int], entries: list[int], low: float, high: float) -> np.ndarray:
    """Return the entries of values; the first mapped value is signed as the input is, or as it must be to be met."""
    count, raw = len(entries), int(descriptor[1]) % 65536
    standard = raw - 65536 if low < 0 and raw > 32767 else raw
    others = range(raw - 65536 * 65536, raw + 65536 * 65536, 65536) if abs(low) < 2**31 else ()
    meets = [first for first in others if first <= high and first + count - 1 >= low]
    first = standard if (standard <= high and standard + count - 1 >= low) or not meets else meets[0]
    return np.interp(np.rint(values), first + np.arange(count), entries)


def apply_item(item: Dataset, values: np.ndarray, low: float, high: float, big: bool) -> tuple[np.ndarray, int]:
    count, _, bits = (int(number) % 65536 for number in item.LUTDescriptor)
    entries = data(item, "LUTData", count or 65536, bits, big)
    return mapped(values, item.LUTDescriptor, entries, low, high), white(bits, entries)


def palette(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Return (rows, columns, 3) of 0 to 1."""
    tables, big = [], is_big_endian(dataset)
    for color in COLORS:
        descriptor = dataset[f"{color}PaletteColorLookupTableDescriptor"].value
        count, _, bits = (int(number) % 65536 for number in descriptor)
        name = f"{color}PaletteColorLookupTableData"
        if name in dataset and dataset[name].value:
            tables.append((descriptor, data(dataset, name, count or 65536, bits, big)))
        else:
            content = octets(dataset, f"Segmented{name}", big)
            tables.append((descriptor, list(segments(content, 1 if bits <= 8 else 2))[: count or 65536]))
    top = white(tables[0][0][2], [entry for _, entries in tables for entry in entries])
    colors = [mapped(stored, descriptor, entries, *limits(dataset)) for descriptor, entries in tables]
    return np.stack(colors, axis=-1) / top


def segments(content: bytes, size: int, start: int = 0, limit: int = 1 << 20, last: int = 0) -> Iterator[int]:
    """Yield the entries of a segmented table, PS3.3 C.7.9.2."""
    number = lambda at: int.from_bytes(content[at : at + size], "little")  # noqa: E731
    at = start
    while limit and at + 2 * size < len(content):
        opcode, length, at, limit = number(at), number(at + size), at + 2 * size, limit - 1
        if opcode == 0:
            found = [number(at + size * index) for index in range(length)]
            at += size * length
        elif opcode == 1:
            slope = (number(at) - last) / length
            found = [int(np.floor(last + slope * (index + 1) + 0.5)) for index in range(length)]
            at += size
        else:
            found = list(segments(content, size, int.from_bytes(content[at : at + 4], "little"), length, last))
            at += 4
        yield from found
        last = found[-1] if found else last


def modality(dataset: Dataset, stored: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the values after the modality step and their possible range."""
    low, high = limits(dataset)
    if dataset.get("ModalityLUTSequence"):
        item = dataset.ModalityLUTSequence[0]
        values, top = apply_item(item, stored, low, high, is_big_endian(dataset))
        return values, 0, top
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    slope, intercept = float(1 if slope in (None, "") else slope), float(intercept or 0)
    if slope == 0:
        slope, intercept = 1, 0
    ends = low * slope + intercept, high * slope + intercept
    return stored * slope + intercept, min(ends), max(ends)


def gray(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Return the levels before inversion."""
    values, low, high = modality(dataset, stored)
    if dataset.get("VOILUTSequence"):
        entries, top = apply_item(dataset.VOILUTSequence[0], values, low, high, is_big_endian(dataset))
        levels = entries / top * WHITE
    elif dataset.get("WindowWidth") not in (None, ""):
        levels = windowed(dataset, values)
    else:
        black, top = full_range(dataset, stored, values)
        levels = np.zeros(stored.shape) if black == top else np.clip((values - black) / (top - black), 0, 1) * WHITE
    if dataset.get("PresentationLUTSequence"):
        item = dataset.PresentationLUTSequence[0]
        count = (int(item.LUTDescriptor[0]) % 65536) or 65536
        first = int(item.LUTDescriptor[1])
        shown = first + levels / WHITE * (count - 1)
        entries, top = apply_item(item, shown, first, first + count - 1, is_big_endian(dataset))
        levels = entries / top * WHITE
    return levels


def windowed(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """Return pydicom's window on the values as they are, spread from 0 to 65535.

    pydicom's output range is that of the stored bits, which 16 unsigned bits make 0 to 65535.
    """
    window = Dataset()
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        if keyword in dataset:
            window[keyword] = dataset[keyword]
    window.PhotometricInterpretation = "MONOCHROME2"
    window.BitsStored, window.PixelRepresentation = 16, 0
    return apply_windowing(values.astype(np.float64), window)


def full_range(dataset: Dataset, stored: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the values that become black and white without a VOI step, which the standard leaves open.

    The bits stored, or for signed and changed values what occurs, apart from padding and from what Bits Stored cannot
    hold.
    """
    low, high = limits(dataset)
    is_changed = bool(dataset.get("ModalityLUTSequence")) or not np.array_equal(values, stored)
    if dataset.PixelRepresentation == 0 and not is_changed:
        return low, high
    shown = values[~padding(dataset, stored) & (stored >= low) & (stored <= high)]
    return (float(shown.min()), float(shown.max())) if shown.size else (0, 0)


def padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Return which pixels are padding, PS3.3 C.7.5.1.1.2; a range that covers all of them is none."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit", value)
    covered = (stored >= min(value, limit)) & (stored <= max(value, limit))
    return np.zeros(stored.shape, bool) if covered.all() else covered
