"""PNG files: whole ones keep nothing but their pixels, and damaged ones are refused before a decoder gets them."""

import io
import itertools
import zlib

import numpy as np
import pytest
from picture_files import chunk, png
from PIL import Image

from pneumo.dicom import png_chunks
from pneumo.dicom.rejection import FileRejectedError, Reason

ROWS = bytes(3 * 6)
"""Inflated bytes of a black picture of 3 x 5."""
SECRET = b"ZZMARKER"


def test_only_what_the_pixels_depend_on_is_kept() -> None:
    plain = png(3, 5, ROWS)
    assert png_chunks.read(plain).data == plain
    texts = chunk(b"tEXt", b"Patient\0" + SECRET) + chunk(b"zTXt", zlib.compress(SECRET)) + chunk(b"eXIf", SECRET)
    rich = png(3, 5, ROWS, before=texts + chunk(b"gAMA", bytes(4)), after=chunk(b"tIME", SECRET)) + SECRET
    read = png_chunks.read(rich)
    assert read.data == plain
    assert read.extras == {b"tEXt", b"zTXt", b"eXIf", b"gAMA", b"tIME"}
    assert (b"eXIf", SECRET) in read.metadata


def test_a_damaged_text_costs_nothing() -> None:
    text = bytearray(chunk(b"tEXt", b"Comment\0ok"))
    text[-1] ^= 1
    assert png_chunks.read(png(3, 5, ROWS, before=bytes(text))).data == png(3, 5, ROWS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_size_is_that_of_the_inflated_data(mode: str) -> None:
    sizes = (1, 2, 3, 5, 8, 13)
    for rows, columns in itertools.product(sizes, sizes):
        Image.new(mode, (columns, rows)).save(target := io.BytesIO(), "PNG")
        png_chunks.read(target.getvalue()).check_image_data()


def test_the_size_of_an_interlaced_picture_is_that_of_its_passes() -> None:
    # The PNG standard's figure of an 8 x 8 block: 1, 1, 2, 4, 8, 16 and 32 pixels in 1, 1, 1, 2, 2, 4 and 4 rows.
    assert png_chunks.PngHeader(8, 8, 8, 0, True).image_bytes == 64 + 15
    # Passes without a pixel have no filter byte.
    assert png_chunks.PngHeader(1, 1, 8, 0, True).image_bytes == 2


def refused(data: bytes) -> FileRejectedError:
    with pytest.raises(FileRejectedError) as caught:
        png_chunks.read(data).check_image_data()
    return caught.value


def test_every_cut_is_found() -> None:
    data = png(3, 5, np.random.default_rng(0).integers(0, 4, 18, np.uint8).tobytes())
    for end in range(8, len(data)):
        assert refused(data[:end]).reason == Reason.BAD_FRAME


def test_every_flipped_bit_is_found() -> None:
    data = png(3, 5, ROWS)
    for at in range(8, len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            refused(bytes(flipped))


BAD = {
    "too few bytes": (png(3, 5, ROWS[1:]), "PNG data of 17 bytes"),
    "too many bytes": (png(3, 5, ROWS + b"\0"), "more than 18 bytes"),
    "no stream": (png(3, 5, ROWS).replace(zlib.compress(ROWS, 1), b""), "damaged PNG chunks"),
    "an unknown filter": (png(3, 5, bytes(6) + b"\5" + bytes(11)), "unknown filter"),
    "no header": (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND"), "damaged PNG chunks at byte 8"),
    "two headers": (png(3, 5, ROWS, before=chunk(b"IHDR", bytes(13))), "damaged PNG chunks"),
    "an unknown color type": (png(3, 5, ROWS, color_type=1), "header that the standard does not allow"),
    "bits that the color type has not": (png(3, 5, ROWS, bits=4, color_type=2), "header that the standard"),
    "an unknown interlacing": (png(3, 5, ROWS, interlace=2), "header that the standard"),
    "a chunk that pixels may depend on": (png(3, 5, ROWS, before=chunk(b"JDAT")), "unknown chunk"),
}


@pytest.mark.parametrize(("data", "found"), BAD.values(), ids=BAD)
def test_a_damaged_file_is_refused_by_what_is_wrong(data: bytes, found: str) -> None:
    assert found in refused(data).found


def test_a_bomb_is_inflated_no_further_than_its_size() -> None:
    bomb = png(3, 5, bytes(300 << 20))
    assert len(bomb) < 2 << 20
    import tracemalloc

    tracemalloc.start()
    assert "more than 18 bytes" in refused(bomb).found
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
