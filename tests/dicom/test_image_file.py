"""Files are recognized by what they hold, whatever their name."""

from pathlib import Path

import numpy as np
import pytest
import reference_files as reference
from picture_files import png

from pneumo.dicom import image_file, reader
from pneumo.dicom.rejection import FileRejectedError, Reason

DICOM = reference.build(np.arange(40 * 67, dtype=np.uint16).reshape(40, 67) % 256)


def test_a_picture_is_read_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(png(3, 5, bytes(18)))
    assert image_file.scan(tmp_path / "x.dcm").is_picture
    assert image_file.read(tmp_path / "x.dcm").data == png(3, 5, bytes(18))


def test_a_dicom_is_read_whatever_its_name_and_preamble(tmp_path: Path) -> None:
    path = reference.save(DICOM, tmp_path / "x.png")
    plain = image_file.read(path)
    assert plain == reader.read(path.read_bytes())
    data = path.read_bytes()
    for signature in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"):
        path.write_bytes(signature + data[len(signature) :])
        assert image_file.scan(path) == reader.Header(reference.IMAGE_ID, "someone", "x")
        assert image_file.read(path) == plain


def test_a_picture_that_exhausts_the_memory_or_a_decoder_is_a_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(png(3, 5, bytes(18)))
    for error, reason in (
        (MemoryError(), Reason.TOO_MUCH_MEMORY),
        (ValueError("of unknown origin"), Reason.BAD_FRAME),
    ):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("pneumo.dicom.picture.read", fail)
        with pytest.raises(FileRejectedError) as caught:
            image_file.read(tmp_path / "x.png")
        assert caught.value.reason == reason
