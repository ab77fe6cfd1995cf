"""Which pictures are masks: 0 and one other level, mostly 0."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_files import png

from pneumo.dicom import mask_pictures

MARKED = np.zeros((40, 60), np.uint8)
MARKED[10:20, 5:30] = 1
RAMP = np.linspace(0, 255, 2400).astype(np.uint8).reshape(40, 60)
PICTURES = {
    "255": (MARKED * 255, "mask"),
    "1": (MARKED, "mask"),
    "16 bits": (MARKED * np.uint16(65535), "mask"),
    "three equal channels": (np.dstack([MARKED * 255] * 3), "mask"),
    "red": (np.dstack([MARKED * 0, MARKED * 0, MARKED * 255]), "mask"),
    "opaque": (np.dstack([MARKED * 255] * 3 + [MARKED * 0 + 255]), "mask"),
    "black": (MARKED * 0, "black"),
    "mostly marked": (255 - MARKED * 255, ""),
    "white": (MARKED * 0 + 255, ""),
    "two levels above 0": (MARKED * 254 + 1, ""),
    "soft edges": (cv2.blur(MARKED * 255, (3, 3)), ""),
    "ramp": (RAMP, ""),
}


@pytest.mark.parametrize(("pixels", "drawn"), PICTURES.values(), ids=PICTURES)
def test_a_mask_is_known_by_its_levels(tmp_path: Path, pixels: np.ndarray, drawn: str) -> None:
    (tmp_path / "x.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    assert mask_pictures.drawn(tmp_path / "x.png") == drawn


def test_what_is_large_for_its_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (400, 400), np.uint8) * 255
    (tmp_path / "x.png").write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    monkeypatch.setattr(cv2, "imdecode", None)
    assert mask_pictures.drawn(tmp_path / "x.png") == ""


def test_what_cannot_be_decoded_is_left_to_its_reading(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = png(40, 60, bytes(61 * 40))
    damaged = whole[:60] + b"\0" + whole[61:]
    for data in (whole[:-20], damaged, png(2, 3, bytes(99)), png(2**31 - 1, 2**31 - 1, b""), whole[:9]):
        (tmp_path / "x.png").write_bytes(data)
        assert mask_pictures.drawn(tmp_path / "x.png") == ""
    assert capfd.readouterr().err == ""
