"""A sample's image out of its shard, and the error that names one that cannot be used."""

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import REPAIR_HINT, ShardReader
from pneumo.dicom.file_ends import is_complete
from pneumo.dicom.image_codec import Pixels, to_float
from pneumo.loading.geometry import downsampled_shape
from pneumo.runtime.errors import UserError

_JPEG_FLAGS = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""OpenCV's flags by factor: libjpeg downsamples by dropping high frequencies of each 8x8 block, faster than decoding
them."""


def read_encoded(reader: ShardReader, row: int) -> npt.NDArray[np.uint8]:
    """Return a row's JPEG or PNG file, (bytes,), without copying it.

    Raises:
        UserError: When the shard is damaged there, or the file was already incomplete when the shard was written.
    """
    image = reader.image(row)
    if not is_complete(image):
        raise damaged_sample(
            reader, row, f"the {reader.table.image_format[row]} file is incomplete", "a whole JPEG or PNG"
        )
    return np.frombuffer(image, np.uint8)


def reduced_type(image_format: str) -> type[np.uint8] | type[np.uint16]:
    """Return the type of a reduced image's pixels: uint8 of a JPEG, uint16 of a PNG, whose averages need more bits."""
    return np.uint8 if image_format == "jpg" else np.uint16


def read_image(reader: ShardReader, row: int, factor: int = 1) -> npt.NDArray[np.float32]:
    """Decode a row's image, downsampled by a factor: ``read_reduced`` as (rows, columns) in [0, 1]."""
    return to_float(read_reduced(reader, row, factor))


def read_reduced(reader: ShardReader, row: int, factor: int) -> Pixels:
    """Decode a row's image, downsampled by a factor, without loss of what a network could see.

    libjpeg downsamples a JPEG to 8 bits. A PNG, of 8 or 16 bits, has 16 bits here; its averages are rounded to them.

    Args:
        reader: Reads the file.
        row: Row of the sample table.
        factor: 1, 2, 4 or 8.

    Returns:
        (rows, columns) of ``reduced_type``, 0 black to the type's maximum white, C-contiguous.

    Raises:
        UserError: When the file cannot be decoded or has another size than the table has for it.
    """
    table = reader.table
    shape = table.shape(row)
    is_jpeg = table.image_format[row] == "jpg"
    by_decoder = factor > 1 and is_jpeg
    # Without the second flag, an orientation tag in the file would rotate the image but not its mask.
    flags = _JPEG_FLAGS[factor] | cv2.IMREAD_IGNORE_ORIENTATION if by_decoder else cv2.IMREAD_UNCHANGED
    expected = downsampled_shape(*shape, factor) if by_decoder else shape
    pixels = _decode(read_encoded(reader, row), flags)
    if pixels is None or pixels.shape != expected:
        found = "cannot be decoded" if pixels is None else f"has the shape {pixels.shape}"
        raise damaged_sample(
            reader, row, f"the {table.image_format[row]} file {found}", f"a gray image of shape {expected}"
        )
    if is_jpeg:
        return pixels
    wide = widen(pixels)
    return wide if factor == 1 else downsample(wide, factor)


def widen(pixels: Pixels) -> npt.NDArray[np.uint16]:
    """Return (rows, columns) pixels with 16 bits, exactly: v / 255 is 257 v / 65535."""
    return pixels if pixels.dtype == np.uint16 else np.multiply(pixels, 257, dtype=np.uint16)  # type: ignore[return-value]


def _decode(data: npt.NDArray[np.uint8], flags: int) -> Pixels | None:
    """Return the pixels of a JPEG or PNG file, or None when it is damaged."""
    try:
        return cv2.imdecode(data, flags)  # type: ignore[return-value]
    except cv2.error:
        return None


def downsample(image: npt.NDArray[np.uint16], factor: int) -> npt.NDArray[np.uint16]:
    """Return the averages of blocks of factor x factor pixels; the far edges are repeated to fill their blocks.

    They are rounded to the nearest integer, upwards between two: (2 sum + pixels) // (2 pixels).
    """
    rows, columns = image.shape
    small_rows, small_columns = downsampled_shape(rows, columns, factor)
    bottom, right = small_rows * factor - rows, small_columns * factor - columns
    padded: npt.NDArray[np.uint16] = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    lines = padded[::factor].astype(np.uint32)
    for line in range(1, factor):
        lines += padded[line::factor]
    sums = np.full((small_rows, small_columns), factor * factor // 2, np.uint32)
    for column in range(factor):
        sums += lines[:, column::factor]
    return (sums // np.uint32(factor * factor)).astype(np.uint16)


def describe_damage(reader: ShardReader, error: UserError) -> str:
    """Return what is damaged without the dataset's path: the same wherever it is mounted, and fit to be handed on.

    Args:
        reader: Read the sample.
        error: What it, or decoding, raised.
    """
    return error.found.replace(f" of {reader.dataset}", "", 1)


def damaged_sample(reader: ShardReader, row: int, found: str, expected: str) -> UserError:
    """Return the error that names a row's image and shard.

    Args:
        reader: Has the names.
        row: Row of the sample table.
        found: Which of the sample's files is damaged, and how.
        expected: What it should have been.
    """
    return UserError(f"{reader.describe(row)}: {found}", expected, REPAIR_HINT)
