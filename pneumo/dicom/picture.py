"""A PNG or JPEG file in place of a DICOM: its pixels, and nothing else that it carries.

Whoever exports X-rays as pictures leaves the header behind: there is no patient, view, spacing or inversion. The id is
the file's name without its ending, as masks CSVs have it.

A gray picture of 8 or 16 bits goes into the shard as it is, without its metadata. Forms that show the same are rendered
to 16 bits, with a note: fewer bits, a palette, or color channels that are equal. Others are refused by name, since gray
made of color or of transparent pixels would be a guess.
"""

import io
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image as PillowImage

from pneumo.dicom import image_codec, png_chunks
from pneumo.dicom.attributes import Attributes
from pneumo.dicom.encodings.encoding import FLAT
from pneumo.dicom.encodings.jpeg import check_bitstream, flat_notes
from pneumo.dicom.file_ends import PADDING_BYTES
from pneumo.dicom.image_codec import Pixels
from pneumo.dicom.jpeg_metadata import strip
from pneumo.dicom.jpeg_segments import APPLICATION, BASELINE, read_header, segments, whole_picture
from pneumo.dicom.opening import Location
from pneumo.dicom.orientation import jpeg_is_turned, png_is_turned
from pneumo.dicom.pixel_data import bad_frame
from pneumo.dicom.reader import MAX_PIXELS, Header, Image
from pneumo.dicom.rejection import FileRejectedError, Reason
from pneumo.masks import image_ids
from pneumo.masks.image_ids import strip_suffix

MAX_SIDE = 65_535
"""Pixels, as in a DICOM and in a JPEG; a PNG's own limit is 2^31."""
SIGNATURES = (png_chunks.SIGNATURE, b"\xff\xd8\xff")
"""First bytes of a PNG and of a JPEG file."""

_FEW_BITS = 14
"""Of 16: the brightest pixel is then darker than a quarter of white."""
_TAIL_NOTE = ["data behind the end of the picture dropped"]
_JPEG_PROCESSES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
"""Baseline, extended and progressive, with Huffman or arithmetic codes; lossless JPEG is for DICOM."""


def header(path: Location) -> Header:
    """Return a picture's ids: its name for the image, and none for the patient."""
    name = _image_id(path)
    return Header(image_id=name, patient_id="", file_stem=name, is_picture=True)


def read(path: Location, data: bytes) -> Image:
    """Read a picture.

    Args:
        path: Its path, for the id.
        data: Its bytes.

    Raises:
        FileRejectedError: When it is damaged, or not a gray picture.
    """
    image_id = _image_id(path)
    return (_read_png if data.startswith(png_chunks.SIGNATURE) else _read_jpeg)(image_id, data)


def _image_id(path: Location) -> str:
    name = strip_suffix(path.name)
    if problem := image_ids.find_problem(name):
        expected = "a name that can be an image id"
        raise FileRejectedError(Reason.NO_ID, "header", f"a file name that {problem}", expected, "rename it")
    return name


def _read_png(image_id: str, data: bytes) -> Image:
    png = png_chunks.read(data)
    head = png.header
    _check_size(head.rows, head.columns)
    if png_chunks.ANIMATION in png.extras:
        raise _unsupported("an animated PNG", "one picture", "save its first frame as a grayscale PNG")
    if png.has_transparent_level:
        raise _transparent()
    if png_is_turned(png.metadata):
        raise _turned()
    png.check_image_data()
    pixels, notes = _to_gray(_decode(png.data))
    used = _notes_of_levels(pixels) + _TAIL_NOTE * png.has_tail
    attributes = _attributes(head.rows, head.columns, head.bits)
    if head.color_type == png_chunks.GRAY and head.bits >= 8 and not notes and not head.interlaced:
        return Image(image_id, attributes, "png", png.data, was_monochrome1=False, render_notes=tuple(used))
    if head.color_type == png_chunks.PALETTE:
        _check_palette(png)
        notes = ["palette of grays rendered to gray", *notes[1:]]
    elif head.bits < 8:
        notes = [f"{head.bits}-bit PNG rendered to 16 bits", *notes]
    elif not notes:
        notes = ["interlaced PNG rendered"]
    return _rendered(image_id, attributes, pixels, notes + used)


def _read_jpeg(image_id: str, whole: bytes) -> Image:
    data = whole_picture(whole)
    tail = _TAIL_NOTE * bool(whole[len(data) :].strip(PADDING_BYTES))
    head = read_header(data)
    _check_size(head.rows, head.columns)
    if head.precision != 8 or head.process not in _JPEG_PROCESSES:
        found = f"a JPEG of {head.precision} bits, process {head.process - BASELINE}"
        raise _unsupported(found, "a lossy JPEG of 8 bits", "save it as a grayscale PNG")
    if head.components not in (1, 3):
        raise _unsupported(f"a JPEG of {head.components} components", "gray", "save it as grayscale")
    if jpeg_is_turned(segment.parameters for segment in segments(data) if segment.marker == APPLICATION[1]):
        raise _turned()
    small = check_bitstream(data, head)
    flat = flat_notes(data, small)
    attributes = _attributes(head.rows, head.columns, 8)
    if head.components == 1 and head.process == BASELINE:
        return Image(
            image_id,
            attributes,
            "jpg",
            strip(data, head),
            was_monochrome1=False,
            render_notes=(*flat, *tail),
            small=small,
        )
    decoded = simplejpeg.decode_jpeg(data, "GRAY" if head.components == 1 else "RGB", strict=True)
    pixels, notes = _to_gray(decoded.squeeze(2) if head.components == 1 else decoded)
    return _rendered(image_id, attributes, pixels, [*(notes or ["JPEG that is not baseline rendered"]), *flat, *tail])


def _decode(data: bytes) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Decode to (rows, columns), or (rows, columns, 3 or 4)."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise bad_frame("PNG data that does not decode", "a whole PNG")
    return pixels  # type: ignore[return-value]


def _check_palette(png: png_chunks.PngFile) -> None:
    """Refuse pixels beyond the palette, which decoders show as black."""
    # Pillow decodes to the entries' numbers, OpenCV to their colors.
    highest = int(np.asarray(PillowImage.open(io.BytesIO(png.data))).max())
    if highest >= png.palette_entries:
        raise bad_frame(f"a pixel of palette entry {highest}", f"the palette's entries, 0 to {png.palette_entries - 1}")


def _to_gray(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> tuple[Pixels, list[str]]:
    """Return (rows, columns) of a picture that shows grays, and how they were had.

    Raises:
        FileRejectedError: When pixels are transparent, or of a color.
    """
    if pixels.ndim == 2:
        return pixels, []
    notes = ["equal color channels rendered to gray"]
    if pixels.shape[2] == 4:
        if (pixels[..., 3] != np.iinfo(pixels.dtype).max).any():
            raise _transparent()
        notes.append("alpha channel without a transparent pixel left out")
    gray = pixels[..., 0]
    if colored := int(((pixels[..., 1] != gray) | (pixels[..., 2] != gray)).sum()):
        found = f"a picture in color ({colored} of {gray.size} pixels are not gray)"
        raise _unsupported(found, "a gray one", "save it as grayscale when it is an X-ray, or leave it out")
    return gray.copy(), notes


def _notes_of_levels(pixels: Pixels) -> list[str]:
    """Note a flat picture, and values as they were in a DICOM of fewer bits, of which the picture is almost black."""
    notes, used = [FLAT] if pixels.min() == pixels.max() else [], int(pixels.max()).bit_length()
    if pixels.dtype == np.uint16 and 0 < used <= _FEW_BITS:
        notes.append(f"values use {used} of 16 bits")
    return notes


def _rendered(image_id: str, attributes: Attributes, pixels: Pixels, notes: Sequence[str]) -> Image:
    wide = pixels.astype(np.uint16) * 257 if pixels.dtype == np.uint8 else pixels
    png = image_codec.encode_png(wide.astype(np.uint16, copy=False))
    return Image(image_id, attributes, "png", png, was_monochrome1=False, render_notes=tuple(notes))


def _attributes(rows: int, columns: int, bits: int) -> Attributes:
    return Attributes(
        rows=rows,
        columns=columns,
        row_spacing_mm=None,
        column_spacing_mm=None,
        view="",
        sex="",
        age_years=None,
        transfer_syntax="",
        photometric="",
        bits_stored=bits,
    )


def _check_size(rows: int, columns: int) -> None:
    if not rows or not columns:
        raise bad_frame(f"a picture of {rows} x {columns} pixels", "rows and columns")
    if rows * columns > MAX_PIXELS or max(rows, columns) > MAX_SIDE:
        expected = f"at most {MAX_PIXELS} pixels and {MAX_SIDE} a side"
        raise _unsupported(f"a picture of {rows} x {columns} pixels", expected, "leave it out, or make it smaller")


def _turned() -> FileRejectedError:
    """Some viewers turn such a picture and others do not, so no mask fits for certain."""
    return _unsupported("a picture that its metadata turns or mirrors", "an upright one", "save it upright")


def _transparent() -> FileRejectedError:
    return _unsupported("a picture with transparent pixels", "opaque ones", "save it without transparency")


def _unsupported(found: str, expected: str, action: str) -> FileRejectedError:
    return FileRejectedError(Reason.UNSUPPORTED, "frame", found, expected, action)
