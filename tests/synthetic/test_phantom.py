import cv2
import numpy as np
import pytest

from pneumo.synthetic.anatomy import draw_anatomy
from pneumo.synthetic.phantom import Phantom, draw

SIZE = 256


@pytest.fixture(scope="module")
def positives() -> list[Phantom]:
    return [draw(np.random.default_rng([1, i]), SIZE, True) for i in range(60)]


@pytest.fixture(scope="module")
def negatives() -> list[Phantom]:
    return [draw(np.random.default_rng([2, i]), SIZE, False) for i in range(20)]


def test_equal_seeds_draw_equal_images() -> None:
    first, second, other = (draw(np.random.default_rng(seed), 96, True) for seed in (5, 5, 6))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.mask, second.mask)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("size", [64, 100, 256])
@pytest.mark.parametrize("positive", [True, False])
def test_image_and_mask_have_the_size_asked_for(size: int, positive: bool) -> None:
    for seed in range(8):
        phantom = draw(np.random.default_rng(seed), size, positive)
        assert phantom.image.shape == phantom.mask.shape == (size, size)
        assert phantom.image.dtype == phantom.mask.dtype == np.uint8
        assert set(np.unique(phantom.mask)) <= {0, 1}
        assert bool(phantom.mask.any()) is positive
        assert phantom.view in {"PA", "AP"}


def test_mask_areas_are_like_the_competition(positives: list[Phantom]) -> None:
    fraction = np.array([phantom.mask.mean() for phantom in positives])
    assert 0.008 < np.median(fraction) < 0.02
    assert fraction.min() > 0.001
    assert fraction.max() < 0.08
    assert fraction.max() > 3 * np.median(fraction[fraction < np.median(fraction)])


def test_both_sides_get_a_pneumothorax(positives: list[Phantom]) -> None:
    on_the_left = [phantom.mask[:, : SIZE // 2].sum() > phantom.mask[:, SIZE // 2 :].sum() for phantom in positives]
    assert 15 < sum(on_the_left) < 45


def test_brightness_is_that_of_a_chest(negatives: list[Phantom]) -> None:
    """Air is black, lungs are dark gray, and the heart and the abdomen are bright."""
    image = np.mean([phantom.image for phantom in negatives], axis=0)
    corner, spine, abdomen = image[10:20, 10:40].mean(), image[120:150, 122:134].mean(), image[225:245, 90:110].mean()
    lungs = image[90:150, 50:80].mean(), image[90:150, 176:206].mean()
    assert corner < min(lungs) - 20
    assert max(lungs) < min(spine, abdomen) - 60
    assert abs(lungs[0] - lungs[1]) < 15
    assert 150 < spine < 250


def test_gap_is_darker_and_smoother_than_the_lung_beside_it(positives: list[Phantom]) -> None:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (21, 21))
    darker = []
    for image, mask, _ in positives:
        inside = cv2.erode(mask, np.ones((3, 3), np.uint8))
        if inside.sum() < 50:
            continue
        near = cv2.dilate(mask, disc) - cv2.dilate(mask, np.ones((7, 7), np.uint8))
        # On the side of the gap where the lung is, towards the middle of the image.
        rows, columns = np.nonzero(near)
        middle = np.nonzero(mask)[1].mean()
        medial = (columns > middle) if middle < SIZE / 2 else (columns < middle)
        lung = image[rows[medial], columns[medial]]
        darker.append(np.median(lung) - np.median(image[inside > 0]))
    assert len(darker) > 30
    assert np.median(darker) > 8


def test_the_anatomy_of_a_patient_is_the_same_at_every_visit() -> None:
    patient = draw_anatomy(np.random.default_rng(0))
    visits = [draw(np.random.default_rng(seed), 128, False, patient).image for seed in range(8)]
    other_patients = [draw(np.random.default_rng(seed), 128, False).image for seed in range(8)]
    assert not np.array_equal(visits[0], visits[1])
    assert np.std(visits, axis=0).mean() < np.std(other_patients, axis=0).mean()
