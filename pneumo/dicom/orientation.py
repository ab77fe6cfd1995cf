"""Whether a picture's metadata turns or mirrors it, which some viewers obey and others do not.

The orientation is a tag of Exif and a property of XMP. A JPEG file has both in APP1 segments. A PNG file has Exif in a
chunk of its own or, as ImageMagick writes it, in hexadecimal in a text, and XMP in a text.
"""

import re
import warnings
import zlib
from collections.abc import Iterable, Iterator

from PIL import Image as PillowImage

EXIF, TEXTS = b"eXIf", (b"tEXt", b"zTXt", b"iTXt")
"""Kinds of the PNG chunks that are read here."""

_EXIF_SEGMENT = b"Exif\0\0"
_RAW_PROFILE, _XMP = b"Raw profile type ", b"XML:com.adobe.xmp"
"""What the keywords of the texts begin with."""
_HEADER_LINES = 3
"""Lines of a raw profile before its hexadecimal digits: an empty one, the name, the length."""
_MAX_TEXT = 1 << 22
"""Bytes of a text that are inflated; a text of any size may be in a chunk of a few bytes."""
_TAG, _UPRIGHT = 0x0112, (0, 1)
"""The tag of Exif, and its values that neither turn nor mirror; 0 is not defined and is ignored by viewers."""
_PROPERTY = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([2-8])""")
"""Of XMP, as an attribute or an element, with a value that turns or mirrors."""


def png_is_turned(chunks: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether chunks of a PNG file, their kinds and contents, turn the picture."""
    return any(_is_turned(content) for kind, chunk in chunks for content in _contents(kind, chunk))


def jpeg_is_turned(segments: Iterable[bytes]) -> bool:
    """Return whether APP1 segments of a JPEG file, their parameters, turn the picture."""
    return any(map(_is_turned, segments))


def _contents(kind: bytes, chunk: bytes) -> Iterator[bytes]:
    """Yield the Exif data or XMP of a chunk, if it has any."""
    if kind == EXIF:
        yield _EXIF_SEGMENT + chunk
        return
    keyword, _, text = chunk.partition(b"\0")
    if kind not in TEXTS or not keyword.startswith((_RAW_PROFILE, _XMP)):
        return
    is_compressed = kind == b"zTXt" or text[:1] == b"\1"
    if kind == b"iTXt":
        # Behind its flag and method: the language, and the keyword in that language.
        text = text[2:].split(b"\0", 2)[-1]
    elif kind == b"zTXt":
        text = text[1:]
    if is_compressed:
        try:
            text = zlib.decompressobj().decompress(text, _MAX_TEXT)
        except zlib.error:
            return
    if not keyword.startswith(_RAW_PROFILE):
        yield text
        return
    try:
        profile = bytes.fromhex(b"".join(text.split(b"\n")[_HEADER_LINES:]).decode("ascii"))
    except ValueError:
        return
    is_exif = keyword == _RAW_PROFILE + b"exif" and not profile.startswith(_EXIF_SEGMENT)
    yield _EXIF_SEGMENT + profile if is_exif else profile


def _is_turned(content: bytes) -> bool:
    """Return whether Exif data behind its first six bytes, or XMP, turns the picture."""
    if not content.startswith(_EXIF_SEGMENT):
        return _PROPERTY.search(content) is not None
    found = PillowImage.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.load(content)
        return found.get(_TAG, 1) not in _UPRIGHT
    except Exception:  # on damaged bytes it raises errors of every kind
        return False
