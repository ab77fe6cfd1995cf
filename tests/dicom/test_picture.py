"""PNG and JPEG files: the pixels that Pillow reads, nothing else that they carry, and no guess at what is not gray."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from picture_files import chunk, png
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from pneumo.dicom import image_codec, picture
from pneumo.dicom.encodings.encoding import FLAT
from pneumo.dicom.reader import Image
from pneumo.dicom.rejection import FileRejectedError, Reason

RNG = np.random.default_rng(7)
GRAY = RNG.integers(0, 256, (37, 53), dtype=np.uint8)
WIDE = RNG.integers(0, 65536, (37, 53), dtype=np.uint16)
OPAQUE = np.full_like(GRAY, 255)
SECRET = "ZZMARKER"
EQUAL, DROPPED = "equal color channels rendered to gray", "alpha channel without a transparent pixel left out"


def saved(pixels: npt.NDArray[Any] | PillowImage.Image, kind: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, PillowImage.Image) else PillowImage.fromarray(pixels)
    image.save(target := io.BytesIO(), kind, **options)
    return target.getvalue()


def read(data: bytes, name: str = "x.png") -> Image:
    return picture.read(Path(name), data)


def exif(orientation: int) -> PillowImage.Exif:
    content = PillowImage.Exif()
    content[0x0112], content[0x010E] = orientation, SECRET
    return content


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def raw_profile(content: bytes) -> str:
    return f"\nexif\n{len(content):8d}\n{content.hex()}\n"


def text(keyword: str, value: str) -> PngInfo:
    info = PngInfo()
    info.add_itxt(keyword, value) if keyword.startswith("XML") else info.add_text(keyword, value, zip=True)
    return info


def test_a_gray_picture_is_kept_byte_for_byte() -> None:
    for data, kind, bits in (
        (saved(GRAY, "PNG"), "png", 8),
        (saved(WIDE, "PNG"), "png", 16),
        (saved(GRAY, "JPEG"), "jpg", 8),
    ):
        image = read(data)
        assert (image.image_format, image.data, image.render_notes) == (kind, data, ())
        assert not image.was_monochrome1
        head = image.attributes
        assert (head.rows, head.columns, head.bits_stored) == (37, 53, bits)
        assert (head.view, head.sex, head.transfer_syntax, head.photometric) == ("", "", "", "")
        assert (head.age_years, head.row_spacing_mm) == (None, None)


@pytest.mark.parametrize(("highest", "bits"), [(1, 1), (4095, 12), (4096, 13), (16383, 14), (16384, 0), (65535, 0)])
def test_values_of_fewer_bits_are_noted(highest: int, bits: int) -> None:
    """Stored values of a DICOM that were saved as they are: almost black, and nothing else tells."""
    data = saved(np.linspace(0, highest, 12).astype(np.uint16).reshape(3, 4), "PNG")
    image = read(data)
    assert image.data == data
    assert image.render_notes == ((f"values use {bits} of 16 bits",) if bits else ())


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_flat_picture_is_noted(kind: str) -> None:
    assert read(saved(np.full((16, 24), 90, np.uint8), kind)).render_notes == (FLAT,)


def test_metadata_does_not_leave_a_picture() -> None:
    info = PngInfo()
    info.add_text("Patient", SECRET)
    info.add_itxt("Comment", SECRET)
    for rich, plain in (
        (saved(GRAY, "PNG", pnginfo=info, exif=exif(1), icc_profile=SECRET.encode()), saved(GRAY, "PNG")),
        (saved(GRAY, "JPEG", comment=SECRET, exif=exif(1), icc_profile=SECRET.encode()), saved(GRAY, "JPEG")),
    ):
        assert SECRET.encode() in rich
        # Pillow's Exif takes the place of its JFIF segment.
        assert SECRET.encode() not in read(rich).data
        assert np.array_equal(image_codec.decode(read(rich).data), image_codec.decode(plain))


def adam7(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an interlaced PNG, which Pillow does not write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    raw = b"".join(b"\0" + row.tobytes() for top, left, down, right in passes for row in pixels[top::down, left::right])
    return png(*pixels.shape, raw, interlace=1)


FORMS: dict[str, tuple[bytes, str]] = {
    "RGB": (saved(np.dstack([GRAY] * 3), "PNG"), EQUAL),
    "RGB of 16 bits": (
        png(37, 53, b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in WIDE), bits=16, color_type=2),
        EQUAL,
    ),
    "RGBA": (saved(np.dstack([GRAY] * 3 + [OPAQUE]), "PNG"), f"{EQUAL}; {DROPPED}"),
    "gray with alpha": (saved(PillowImage.fromarray(np.dstack([GRAY, OPAQUE]), "LA"), "PNG"), f"{EQUAL}; {DROPPED}"),
    "1 bit": (saved(PillowImage.fromarray(GRAY > 99), "PNG"), "1-bit PNG rendered to 16 bits"),
    "2 bits": (png(2, 4, b"\0\x1b\0\xe4", bits=2), "2-bit PNG rendered to 16 bits"),
    "4 bits": (png(2, 2, b"\0\x1f\0\x70", bits=4), "4-bit PNG rendered to 16 bits"),
    "palette": (saved(PillowImage.fromarray(GRAY).convert("P"), "PNG"), "palette of grays rendered to gray"),
    "palette of 2 bits": (
        saved(PillowImage.fromarray(GRAY // 64 * 85).quantize(4), "PNG", bits=2), "palette of grays rendered to gray",
    ),
    "interlaced": (adam7(GRAY), "interlaced PNG rendered"),
    "progressive JPEG": (saved(GRAY, "JPEG", progressive=True), "JPEG that is not baseline rendered"),
    "RGB JPEG": (saved(np.dstack([GRAY] * 3), "JPEG"), EQUAL),
}  # fmt: skip


@pytest.mark.parametrize(("data", "notes"), FORMS.values(), ids=FORMS)
def test_a_form_that_shows_grays_is_rendered_to_what_pillow_reads(data: bytes, notes: str) -> None:
    image = read(data)
    assert image.image_format == "png"
    assert "; ".join(image.render_notes) == notes
    pixels = image_codec.decode(image.data)
    assert pixels.dtype == np.uint16
    source = PillowImage.open(io.BytesIO(data))
    # Pillow reads 16-bit colors to 8 bits.
    expected = np.asarray(source.convert("RGB"))[..., 0] if data is not FORMS["RGB of 16 bits"][0] else WIDE >> 8
    assert np.array_equal(pixels // 257 if data is not FORMS["RGB of 16 bits"][0] else pixels >> 8, expected)
    if data is not FORMS["RGB of 16 bits"][0]:
        assert (pixels % 257 == 0).all()


def animated() -> bytes:
    return saved(GRAY, "PNG", save_all=True, append_images=[PillowImage.fromarray(OPAQUE)])


REFUSED: dict[str, tuple[Callable[[], bytes], Reason, str]] = {
    "color": (
        lambda: saved(np.dstack([GRAY, GRAY, GRAY ^ (GRAY == 7)]), "PNG"), Reason.UNSUPPORTED, "a picture in color",
    ),
    "color JPEG": (lambda: saved(np.dstack([GRAY, OPAQUE, GRAY]), "JPEG"), Reason.UNSUPPORTED, "a picture in color"),
    "CMYK": (
        lambda: saved(PillowImage.fromarray(np.dstack([GRAY] * 4), "CMYK"), "JPEG"), Reason.UNSUPPORTED, "4 components",
    ),
    "transparency": (lambda: saved(np.dstack([GRAY] * 4), "PNG"), Reason.UNSUPPORTED, "transparent pixels"),
    "a transparent gray": (lambda: saved(GRAY, "PNG", transparency=5), Reason.UNSUPPORTED, "transparent pixels"),
    "animation": (animated, Reason.UNSUPPORTED, "an animated PNG"),
    "turned JPEG": (lambda: saved(GRAY, "JPEG", exif=exif(6)), Reason.UNSUPPORTED, "metadata turns"),
    "turned PNG": (lambda: saved(GRAY, "PNG", exif=exif(3)), Reason.UNSUPPORTED, "metadata turns"),
    "turned PNG of ImageMagick": (
        lambda: saved(GRAY, "PNG", pnginfo=text("Raw profile type exif", raw_profile(exif(6).tobytes()))),
        Reason.UNSUPPORTED, "metadata turns",
    ),
    "turned PNG of Adobe": (
        lambda: saved(GRAY, "PNG", pnginfo=text("XML:com.adobe.xmp", XMP)), Reason.UNSUPPORTED, "metadata turns",
    ),
    "turned JPEG of Adobe": (lambda: saved(GRAY, "JPEG", xmp=XMP.encode()), Reason.UNSUPPORTED, "metadata turns"),
    "a pixel beyond the palette": (
        lambda: png(2, 2, b"\0\0\1\0\1\3", color_type=3, before=chunk(b"PLTE", bytes(9))),
        Reason.BAD_FRAME, "a pixel of palette entry 3",
    ),
    "a pixel beyond the palette of 2 bits": (
        lambda: png(2, 4, b"\0\x1b\0\xe4", bits=2, color_type=3, before=chunk(b"PLTE", bytes(9))),
        Reason.BAD_FRAME, "a pixel of palette entry 3",
    ),
    "12 bits": (
        lambda: saved(GRAY, "JPEG").replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"),
        Reason.UNSUPPORTED, "12 bits",
    ),
    "lossless JPEG": (
        lambda: saved(GRAY, "JPEG").replace(b"\xff\xc0\0\x0b", b"\xff\xc3\0\x0b"), Reason.UNSUPPORTED, "process 3",
    ),
    "huge PNG": (lambda: png(1 << 30, 1 << 30, b""), Reason.UNSUPPORTED, "1073741824 x 1073741824 pixels"),
    "wide PNG": (lambda: png(1, 70_000, bytes(70_001)), Reason.UNSUPPORTED, "1 x 70000 pixels"),
    "no pixels": (lambda: png(3, 0, b""), Reason.BAD_FRAME, "3 x 0 pixels"),
    "cut JPEG": (lambda: saved(GRAY, "JPEG")[:-9] + b"\xff\xd9", Reason.BAD_FRAME, "JPEG data that does not decode"),
    "JPEG that ends early": (
        lambda: saved(GRAY, "JPEG")[:-200] + b"\xff\xd9" + saved(GRAY, "JPEG"),
        Reason.BAD_FRAME, "JPEG data that does not decode",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("write", "reason", "found"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_gray_picture_is_refused_by_name(write: Callable[[], bytes], reason: Reason, found: str) -> None:
    with pytest.raises(FileRejectedError) as caught:
        read(write())
    assert caught.value.reason == reason
    assert found in caught.value.found


def test_the_palette_of_a_gray_picture_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    """The standard forbids it, and libpng prints that it ignores it."""
    image = read(png(3, 5, bytes(18), before=chunk(b"PLTE", bytes(48))))
    assert image.data == png(3, 5, bytes(18))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("tail", [b"Z" * 1000, b"\xff\xd9", saved(GRAY, "JPEG"), saved(GRAY, "PNG")])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_is_behind_a_picture_is_dropped_and_noted(kind: str, tail: bytes) -> None:
    """A second image for a display, or what a vendor appends; the picture before it is whole."""
    picture = saved(GRAY, kind)
    image = read(picture + tail)
    assert image.data == picture
    assert image.render_notes == ("data behind the end of the picture dropped",)
    assert read(picture + bytes(3)).render_notes == ()
    if kind == "JPEG":
        # Scans with tables between them, in which an end is no end.
        progressive = saved(GRAY, kind, progressive=True)
        assert read(progressive + tail).data == read(progressive).data
        assert len(read(progressive + tail).render_notes) == 2


def test_damaged_exif_data_is_no_orientation() -> None:
    assert read(png(3, 5, bytes(18), before=chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"))).data == png(3, 5, bytes(18))


NAMES = {"1.2.3.png": "1.2.3", "ID_0a.JPG": "ID_0a", "x.jpeg": "x", "1.2.3.dcm": "1.2.3", "1.2.3": "1.2.3"}


@pytest.mark.parametrize(("name", "image_id"), NAMES.items())
def test_the_id_is_the_file_name_without_its_ending(name: str, image_id: str) -> None:
    header = picture.header(Path("patient") / name)
    assert (header.image_id, header.patient_id, header.file_stem) == (image_id, "", image_id)
    assert header.is_picture
    assert read(saved(GRAY, "PNG"), name).image_id == image_id


@pytest.mark.parametrize("name", ["=cmd().png", "a\nb.png", "x" * 300 + ".png"])
def test_a_name_that_cannot_be_an_id_is_refused_without_quoting_it(name: str) -> None:
    with pytest.raises(FileRejectedError, match=r"^a file name that .*; rename it") as caught:
        picture.header(Path(name))
    assert caught.value.reason == Reason.NO_ID
    assert name[:-4] not in str(caught.value)
