"""Encode and decode the images of a shard: 8-bit JPEG and 16-bit PNG."""

from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.dicom.file_ends import is_complete

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(rows, columns), 0 black to the type's maximum white."""


def decode(data: bytes | bytearray | memoryview) -> Pixels:
    """Decode a JPEG or PNG to (rows, columns) ``uint8`` or ``uint16``.

    Raises:
        ValueError: When the bytes are not a complete grayscale JPEG or PNG.
    """
    view = memoryview(data)
    if not is_complete(view):
        raise ValueError(f"no complete JPEG or PNG in {len(view)} bytes")
    try:
        pixels = cv2.imdecode(np.frombuffer(view, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"damaged image of {len(view)} bytes: {error}") from None
    if pixels is None:
        raise ValueError(f"damaged image of {len(view)} bytes")
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"image of shape {pixels.shape} and type {pixels.dtype} instead of one gray channel")
    return cast(Pixels, pixels)


def to_float(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Scale (rows, columns) pixels to ``float32`` in [0, 1], by 255 or 65535 according to their type."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def encode_png(pixels: npt.NDArray[np.uint16]) -> bytes:
    """Encode (rows, columns) pixels as a 16-bit grayscale PNG at a low compression level."""
    assert pixels.ndim == 2
    assert pixels.dtype == np.uint16
    # Higher levels make files a few percent smaller and take several times as long.
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return data.tobytes()
