"""Whether a JPEG or PNG is whole, by its first and its last bytes.

Decoders fill in what a file lacks that is cut off, or whose end was never written and is zeros, and at most warn.
"""

PADDING_BYTES = b"\0\xff"
"""Bytes behind the end that make a DICOM frame even in length; some writers add 0xff, a fill byte of JPEG."""
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND\xaeB`\x82"}
"""First bytes and last bytes of a JPEG and a PNG."""
_TAIL = 16
"""Bytes at the end of a file that hold its last bytes and the padding."""


def is_complete(data: bytes | memoryview) -> bool:
    """Return whether the bytes begin and end as a JPEG or a PNG does."""
    end = _ENDS.get(bytes(data[:2]))
    return end is not None and bytes(data[-_TAIL:]).rstrip(PADDING_BYTES).endswith(end)
