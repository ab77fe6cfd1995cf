"""The orientations that Pillow turns a picture by, and others of the same formats."""

import io
import zlib

import numpy as np
import pytest
from picture_files import chunk, png
from PIL import Image as PillowImage
from PIL import ImageOps

from pneumo.dicom import png_chunks
from pneumo.dicom.orientation import jpeg_is_turned, png_is_turned

PIXELS = np.arange(15, dtype=np.uint8).reshape(3, 5)


def exif(orientation: int) -> bytes:
    content = PillowImage.Exif()
    content[0x0112] = orientation
    return content.tobytes()


def xmp(orientation: int, form: str = 'tiff:Orientation="{}"') -> bytes:
    return b"<rdf:Description " + form.format(orientation).encode() + b"/>"


def raw(content: bytes) -> bytes:
    return b"\nname\n%8d\n" % len(content) + content.hex().encode() + b"\n"


def chunks(orientation: int) -> dict[str, bytes]:
    """Return chunks with an orientation that Pillow finds."""
    profile, adobe = b"Raw profile type exif\0", b"XML:com.adobe.xmp\0"
    return {
        "Exif": chunk(b"eXIf", exif(orientation)[6:]),
        "text": chunk(b"tEXt", profile + raw(exif(orientation))),
        "compressed text": chunk(b"zTXt", profile + b"\0" + zlib.compress(raw(exif(orientation)))),
        "XMP": chunk(b"iTXt", adobe + b"\0\0en\0\0" + xmp(orientation)),
        "compressed XMP": chunk(b"iTXt", adobe + b"\1\0\0\0" + zlib.compress(xmp(orientation))),
    }


@pytest.mark.parametrize("orientation", [1, 2, 6, 8])
@pytest.mark.parametrize("form", chunks(1))
def test_what_pillow_turns_is_turned(form: str, orientation: int) -> None:
    data = png(3, 5, b"".join(b"\0" + row.tobytes() for row in PIXELS), before=chunks(orientation)[form])
    image = PillowImage.open(io.BytesIO(data))
    turned = not np.array_equal(ImageOps.exif_transpose(image), PIXELS)
    assert turned == (orientation != 1)
    assert png_is_turned(png_chunks.read(data).metadata) == turned


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"tEXt", b"Raw profile type APP1\0" + raw(exif(3))),
        (b"tEXt", b"Raw profile type APP1\0" + raw(b"http://ns.adobe.com/xap/1.0/\0" + xmp(3))),
        (b"tEXt", b"Raw profile type exif\0" + raw(exif(3)[6:])),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(5, "tiff:Orientation = '{}'")),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>7</tiff:Orientation>"),
    ],
)
def test_other_spellings_are_read(kind: bytes, content: bytes) -> None:
    assert png_is_turned([(kind, content)])


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"tEXt", b'Comment\0tiff:Orientation="6"'),
        (b"tEXt", b"Raw profile type exif\0\n\n\nnot hexadecimal"),
        (b"tEXt", b"Raw profile type exif"),
        (b"zTXt", b"Raw profile type exif\0\0not compressed"),
        (b"iTXt", b"XML:com.adobe.xmp\0"),
        (b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        (b"eXIf", exif(0)[6:]),
    ],
)
def test_what_is_no_orientation_turns_nothing(kind: bytes, content: bytes) -> None:
    assert not png_is_turned([(kind, content)])


def test_segments_of_a_jpeg() -> None:
    assert not jpeg_is_turned([exif(1), b"http://ns.adobe.com/xap/1.0/\0" + xmp(1), b"other"])
    assert jpeg_is_turned([b"other", exif(8)])
    assert jpeg_is_turned([exif(1), b"http://ns.adobe.com/xap/1.0/\0" + xmp(8)])
