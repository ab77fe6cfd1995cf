"""Masks that were saved as PNG files, and lie among the images in common downloads of the competition's data.

They have 0 and one other level, and are mostly 0. No X-ray is like that. The mask of an image without a finding has 0
alone, which a useless image has, too; its place among others tells the two apart (``dataset/plan.py``).
"""

import os
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pneumo.dicom import png_chunks
from pneumo.dicom.opening import Location, open_file
from pneumo.dicom.reader import MAX_PIXELS, Drawn
from pneumo.dicom.rejection import FileRejectedError

_HEAD = 24
"""Bytes of a PNG up to its columns and rows."""
_PIXELS_A_BYTE, _METADATA = 8, 2048
"""A file with more bytes than one for 8 pixels, and some for metadata, has more levels: it is not decoded."""


def drawn(path: Location) -> Drawn:
    """Return whether a file is a mask, or may be one, by its pixels.

    Raises:
        FileRejectedError: When it cannot be read; a damaged PNG is refused later, when its image is read.
    """
    with open_file(path) as file:
        head = file.read(_HEAD)
        pixels = int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big")
        small = os.fstat(file.fileno()).st_size <= pixels // _PIXELS_A_BYTE + _METADATA
        if not head.startswith(png_chunks.SIGNATURE) or pixels > MAX_PIXELS or not small:
            return ""
        data = head + file.read()
    try:
        png = png_chunks.read(data)
        png.check_image_data()
        levels = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (FileRejectedError, MemoryError, cv2.error):
        return ""
    return "" if levels is None else _of_levels(levels)


def _of_levels(levels: npt.NDArray[Any]) -> Drawn:
    """Return what a picture is by its levels, (rows, columns) or (rows, columns, 3 or 4), the fourth its opacity."""
    colors = levels if levels.ndim == 2 else levels[..., :3]
    marked = colors[colors > 0]
    if not marked.size:
        return "black"
    return "mask" if 2 * marked.size < colors.size and marked.min() == marked.max() else ""
