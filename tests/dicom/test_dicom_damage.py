"""Truncated and damaged files: each is rejected or gives the right image."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
import reference_files as reference
from pydicom.datadict import tag_for_keyword

from pneumo.dicom import image_codec, image_file
from pneumo.dicom.rejection import FileRejectedError

VALUES = reference.gradient("u2", 12)
NOISE = np.random.default_rng(3).integers(0, 256, (40, 56), dtype=np.uint8)


def test_every_truncated_file_is_rejected_or_gives_the_same_image(tmp_path: Path) -> None:
    for number, dataset in enumerate((reference.build_jpeg(NOISE), reference.build(NOISE, syntax="rle"))):
        path = reference.save(dataset, tmp_path / f"{number}.dcm")
        data, image = path.read_bytes(), image_file.read(path)
        for length in range(1, len(data), 37):
            path.write_bytes(data[:length])
            with contextlib.suppress(FileRejectedError):
                assert image_file.read(path).data == image.data


def test_flipped_bits_raise_rejections_only(tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    for number, dataset in enumerate((reference.build_jpeg(NOISE), reference.build(VALUES, 12))):
        path = reference.save(dataset, tmp_path / f"{number}.dcm")
        data = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(data)
            # Mostly in the header: a flip in the pixels gives another valid image.
            for at in random.integers(128, min(len(data), 800), 3):
                damaged[at] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged)
            with contextlib.suppress(FileRejectedError):
                image_codec.decode(image_file.read(path).data)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "PatientID", "Rows", "ViewPosition", "PixelData"])
def test_an_element_of_unknown_vr_without_a_value_raises_rejections_only(tmp_path: Path, keyword: str) -> None:
    data = reference.save(reference.build(VALUES, 12, ViewPosition="PA"), tmp_path / "x.dcm").read_bytes()
    tag = struct.pack("<2H", *divmod(tag_for_keyword(keyword), 1 << 16))
    at = data.index(tag, 132)
    (tmp_path / "x.dcm").write_bytes(data[: at + 4] + b"NW\0\0" + data[at + 8 :])
    for use in (image_file.scan, image_file.read):
        with contextlib.suppress(FileRejectedError):
            use(tmp_path / "x.dcm")
