"""PNG files chunk by chunk, for what no library writes."""

import struct
import zlib


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    rows: int,
    columns: int,
    raw: bytes,
    *,
    bits: int = 8,
    color_type: int = 0,
    interlace: int = 0,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """Return a PNG file with these inflated bytes, and with chunks before and after those of the pixels."""
    head = struct.pack(">IIBBBBB", columns, rows, bits, color_type, 0, 0, interlace)
    data = chunk(b"IDAT", zlib.compress(raw, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + data + after + chunk(b"IEND")
