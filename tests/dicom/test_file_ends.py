"""First and last bytes of whole and of cut files."""

import numpy as np
import pytest
import reference_files as reference

from pneumo.dicom.file_ends import is_complete
from pneumo.dicom.image_codec import encode_png

SHADES = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
JPEG, PNG = reference.encode_jpeg(SHADES), encode_png(SHADES.astype(np.uint16))


@pytest.mark.parametrize("data", [JPEG, PNG], ids=["JPEG", "PNG"])
def test_a_file_is_complete_with_its_end_and_some_padding(data: bytes) -> None:
    for padding in (b"", b"\0", b"\xff", b"\0" * 8):
        assert is_complete(data + padding)
    for cut in (data[:-1], data[: len(data) // 2], data[4:], data[: len(data) // 2].ljust(len(data), b"\0"), b""):
        assert not is_complete(cut)
    for trailing in (b"x", b"\0" * 16):
        assert not is_complete(data + trailing)


def test_another_format_is_not_complete() -> None:
    assert not is_complete(b"GIF89a" + JPEG[-2:])
