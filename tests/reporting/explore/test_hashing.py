"""The perceptual hash: copies are found however they were made, and different images are not."""

import tracemalloc

import cv2
import numpy as np
import pytest

from pneumo.reporting.explore import hashing
from pneumo.reporting.explore.hashing import BITS, MAX_LIMIT, MIN_LIMIT, Match, compute, find_limit, find_similar


def make_image(seed: int, size: int = 256) -> np.ndarray:
    """Smooth noise, different for each seed."""
    noise = np.random.default_rng(seed).normal(size=(24, 24)).astype(np.float32)
    image = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return (image - image.min()) / (image.max() - image.min())


def compressed(image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", (image * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 50])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


COPIES = {
    "the same": lambda image: image,
    "compressed": compressed,
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda image: np.clip(image * 0.8 + 0.15, 0, 1),
    "gamma": lambda image: image**1.5,
    "turned": lambda image: cv2.warpAffine(
        image, cv2.getRotationMatrix2D((128, 128), 0.5, 1), (256, 256), borderMode=cv2.BORDER_REPLICATE
    ),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_found_among_other_images(copy: str) -> None:
    images = [make_image(seed) for seed in range(12)]
    hashes = [compute(image) for image in [*images, COPIES[copy](images[5]).astype(np.float32)]]
    (found,) = find_similar(hashes, find_limit(hashes), most=10)
    assert (found.first, found.second, found.inverted) == (5, 12, False)


def test_an_inverted_copy_is_found_and_said_to_be_one() -> None:
    hashes = [compute(make_image(1)), compute(make_image(2)), compute(1 - make_image(1))]
    assert find_similar(hashes, MAX_LIMIT, most=10) == [Match(0, 2, 0, inverted=True)]


def test_a_flat_image_is_similar_to_nothing() -> None:
    flat = np.full((100, 100), 0.5, np.float32)
    assert compute(flat) is None
    assert find_similar([None, compute(make_image(0)), None], MAX_LIMIT, most=10) == []
    assert find_similar([], MAX_LIMIT, most=10) == []


def test_pairs_across_blocks_are_those_of_comparing_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    hashes = [rng.random(BITS) < 0.5 for _ in range(40)]
    for copy, source, flipped in ((3, 30, 5), (31, 8, 40), (39, 0, 41), (20, 21, 0)):
        hashes[copy] = hashes[source].copy()
        hashes[copy][:flipped] ^= True
    expected = [
        (i, j, distance)
        for i in range(40)
        for j in range(i + 1, 40)
        if (distance := int((hashes[i] != hashes[j]).sum())) <= MAX_LIMIT
    ]
    found = [(match.first, match.second, match.distance) for match in find_similar(hashes, MAX_LIMIT, most=1000)]
    assert sorted(found) == expected == [(3, 30, 5), (8, 31, 40), (20, 21, 0)]


def test_the_search_ends_after_so_many_pairs() -> None:
    assert len(find_similar([compute(make_image(0))] * 50, MAX_LIMIT, most=100)) == 100


def test_the_search_among_copies_of_one_image_needs_no_memory_for_all_pairs() -> None:
    alike = [compute(make_image(0))] * 3000
    tracemalloc.start()
    try:
        assert len(find_similar(alike, MAX_LIMIT, most=100)) == 100
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 25e6, "4,500,000 pairs would be 72 MB"


def test_images_that_are_all_alike_have_a_lower_limit() -> None:
    different = [compute(make_image(seed)) for seed in range(30)]
    assert find_limit(different) == MAX_LIMIT
    base = make_image(0)
    alike = [compute(np.clip(base + 0.25 * make_image(seed), 0, 1)) for seed in range(1, 31)]
    assert MIN_LIMIT <= find_limit(alike) < MAX_LIMIT
    assert find_similar(alike, find_limit(alike), most=10) == []
    assert find_limit([]) == find_limit([different[0]]) == MAX_LIMIT
