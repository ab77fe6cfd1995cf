"""The chunks of a PNG file: which picture they hold, whether it is whole, and the same file without anything else.

PNG (third edition), https://www.w3.org/TR/png-3/.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pneumo.dicom import orientation
from pneumo.dicom.file_ends import PADDING_BYTES
from pneumo.dicom.pixel_data import bad_frame
from pneumo.dicom.rejection import FileRejectedError, Reason

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""Color types."""
ANIMATION, PALETTE_CHUNK, TRANSPARENCY = b"acTL", b"PLTE", b"tRNS"
_CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
_BITS = {
    GRAY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GRAY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
_CRITICAL = (b"IHDR", PALETTE_CHUNK, b"IDAT", b"IEND")
_NEEDED = (*_CRITICAL, TRANSPARENCY)
"""Chunks that the pixels depend on; all others are texts, times, profiles and hints."""
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, and the steps of both, of each pass of an interlaced picture."""
_LAST_FILTER = 4
_PIECE = 1 << 20
"""Bytes that are inflated at a time."""


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int
    content: bytes


@dataclass(frozen=True, slots=True)
class PngHeader:
    """The IHDR chunk."""

    rows: int
    columns: int
    bits: int
    """Bits of a sample."""
    color_type: int
    interlaced: bool

    @property
    def row_bytes(self) -> int:
        """Size of a row of a picture that is not interlaced, before compression and with its filter byte."""
        return 1 + -(-self.columns * self.bits * _CHANNELS[self.color_type] // 8)

    @property
    def image_bytes(self) -> int:
        """Size of the pixels before compression: each row with its filter byte, each pass by itself."""
        bits = self.bits * _CHANNELS[self.color_type]
        size = 0
        for row, column, row_step, column_step in _PASSES if self.interlaced else ((0, 0, 1, 1),):
            rows, columns = -(-(self.rows - row) // row_step), -(-(self.columns - column) // column_step)
            if rows > 0 and columns > 0:
                size += rows * (1 + -(-columns * bits // 8))
        return size


@dataclass(frozen=True, slots=True)
class PngFile:
    """A PNG file whose chunks are intact."""

    header: PngHeader
    data: bytes
    """The file without the chunks that no pixel depends on, and without what is behind its end."""
    extras: frozenset[bytes]
    """Kinds of the chunks that were left out."""
    metadata: tuple[tuple[bytes, bytes], ...]
    """Kind and content of the chunks that may hold an orientation."""
    palette_entries: int
    has_tail: bool
    """Something is behind its end."""
    has_transparent_level: bool
    """One gray level or color is transparent; in a palette, entries are, which decoding gives an alpha channel."""

    def check_image_data(self) -> None:
        """Check that the compressed data has as many bytes as the picture, no fewer and no more.

        Decoders accept data that ends early, and print what they find.

        Raises:
            FileRejectedError: When it has not, or is damaged.
        """
        expected, size, stream = self.header.image_bytes, 0, zlib.decompressobj()
        try:
            for chunk in _chunks(self.data):
                left = chunk.content if chunk.kind == b"IDAT" else b""
                while left and size <= expected:
                    piece = stream.decompress(left, _PIECE)
                    left = stream.unconsumed_tail
                    self._check_filters(piece, size)
                    size += len(piece)
        except zlib.error:
            raise bad_frame("PNG data that does not inflate", "a whole PNG") from None
        if size != expected or not stream.eof or stream.unused_data:
            more = "more than " if size > expected else ""
            raise bad_frame(f"PNG data of {more}{min(size, expected)} bytes", f"{expected}, as its size says")

    def _check_filters(self, piece: bytes, start: int) -> None:
        """Check the filter byte of each row in a piece of the inflated data, of a picture that is not interlaced."""
        stride = self.header.row_bytes
        if not self.header.interlaced and max(piece[-start % stride :: stride], default=0) > _LAST_FILTER:
            raise bad_frame("a PNG row with an unknown filter", "a whole PNG")


def read(data: bytes) -> PngFile:
    """Read the chunks of a PNG file.

    Raises:
        FileRejectedError: When a chunk that the pixels depend on is damaged, missing or unknown.
    """
    header: PngHeader | None = None
    kept, extras, metadata, palette_entries = [SIGNATURE], set[bytes](), list[tuple[bytes, bytes]](), 0
    end = len(data)
    for chunk in _chunks(data):
        if (header is None) != (chunk.kind == b"IHDR"):
            raise _damaged(chunk.start, len(data))
        if chunk.kind == b"IHDR":
            header = _read_header(chunk.content)
        if chunk.kind == PALETTE_CHUNK:
            palette_entries = len(chunk.content) // 3
            if header is not None and header.color_type in (GRAY, GRAY_ALPHA):
                # The standard forbids it there, and decoders print that they ignore it.
                extras.add(chunk.kind)
                continue
        if chunk.kind in _NEEDED:
            kept.append(data[chunk.start : chunk.end])
        elif chunk.kind[:1].isupper():
            found = "a PNG with an unknown chunk that it cannot be shown without"
            raise FileRejectedError(
                Reason.UNSUPPORTED, "frame", found, "the chunks of the PNG standard", "save it as a grayscale PNG again"
            )
        else:
            extras.add(chunk.kind)
            if chunk.kind in (orientation.EXIF, *orientation.TEXTS):
                metadata.append((chunk.kind, chunk.content))
        end = chunk.end
    assert header is not None
    has_tail = bool(data[end:].strip(PADDING_BYTES))
    transparent = any(chunk[4:8] == TRANSPARENCY for chunk in kept) and header.color_type != PALETTE
    return PngFile(header, b"".join(kept), frozenset(extras), tuple(metadata), palette_entries, has_tail, transparent)


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield the chunks up to the last one, IEND; what follows is no part of the picture."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data) or not kind.isalpha():
            break
        content = data[at + 8 : end - 4]
        if kind in _NEEDED and zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(data[end - 4 : end], "big"):
            break
        yield _Chunk(kind, at, end, content)
        if kind == b"IEND":
            return
        at = end
    raise _damaged(at, len(data))


def _read_header(content: bytes) -> PngHeader:
    columns, rows = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")
    bits, color_type, compression, filtering, interlace = content[8:].ljust(5, b"\xff")[:5]
    if len(content) != 13 or bits not in _BITS.get(color_type, ()) or compression or filtering or interlace > 1:
        raise bad_frame("a PNG header that the standard does not allow", "a PNG of 1 to 16 bits")
    return PngHeader(rows, columns, bits, color_type, bool(interlace))


def _damaged(at: int, size: int) -> FileRejectedError:
    return bad_frame(f"damaged PNG chunks at byte {at} of {size}", "a whole PNG")
