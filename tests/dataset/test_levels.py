"""The levels of a stored image are those of its pixels, whatever its format."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumo.dataset import levels
from pneumo.dicom import image_file


@pytest.mark.parametrize(("ending", "dtype", "white"), [(".jpg", np.uint8, 255), (".png", np.uint16, 65535)])
def test_levels_of_a_ramp(ending: str, dtype: type, white: int) -> None:
    ramp = np.tile(np.linspace(0.2, 0.8, 256), (256, 1))
    done, data = cv2.imencode(ending, np.rint(ramp * white).astype(dtype))
    assert done
    low, high = levels.measure(data.tobytes())
    # The percentiles of the ramp, within an eighth of its columns.
    assert low == pytest.approx(0.23, abs=0.02)
    assert high == pytest.approx(0.77, abs=0.02)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 900), (900, 1), (7, 7)])
def test_levels_of_the_smallest_images(ending: str, shape: tuple[int, int]) -> None:
    data = cv2.imencode(ending, np.full(shape, 51, np.uint8))[1].tobytes()
    assert levels.measure(data) == pytest.approx((0.2, 0.2), abs=0.01)


@pytest.mark.siim
@pytest.mark.skipif("PNEUMO_SIIM_DIR" not in os.environ, reason="PNEUMO_SIIM_DIR is not set")
def test_levels_of_real_images_are_the_same_from_the_eighth_that_their_check_decodes() -> None:
    for path in sorted(Path(os.environ["PNEUMO_SIIM_DIR"]).rglob("*.dcm"))[::20]:
        image = image_file.read(path)
        assert image.small is not None
        assert levels.measure(b"", image.small) == levels.measure(image.data)


def test_what_is_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="damaged image of 4 bytes"):
        levels.measure(b"\xff\xd8\xff\xd9")


@pytest.mark.parametrize("shape", [(1, 1), (1, 11), (5, 7), (128, 128), (113, 97)])
def test_levels_are_the_nearest_percentiles_of_numpy(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[1])
    for highest in (1, 2, 20, 256):
        small = rng.integers(0, highest, shape, np.uint8)
        low, high = np.percentile(small, (5, 95), method="nearest")
        assert levels.measure(b"", small) == (round(low / 255, 4), round(high / 255, 4))
