"""Images that are kept on the device."""

import pytest
import torch

from pneumo.loading import device_cache
from pneumo.loading.device_cache import DeviceCache

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(device_cache, "PIECE_BYTES", 4096)


def image(seed, shape=(30, 37), dtype=torch.uint8):
    values = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed))
    return (values * (257 if dtype == torch.uint16 else 1)).to(dtype)


def test_images_come_back_as_they_were_whatever_their_shapes_and_depths():
    cache = DeviceCache(CPU, max_bytes=2**20)
    images = {
        (row, factor): image(row, (5 + 7 * row, 11 + factor), torch.uint16 if row % 3 == 1 else torch.uint8)
        for row in range(12)
        for factor in (1, 2)
    }
    images[99, 1] = image(99, (90, 100))  # larger than a piece
    for key, kept in images.items():
        assert cache.get(*key) is None
        cache.put(*key, kept.clone())
    for key, kept in images.items():
        found = cache.get(*key)
        assert found.dtype == kept.dtype
        assert torch.equal(found, kept)
    assert len(cache) == len(images)
    assert not cache.is_full


def test_an_image_is_kept_once():
    cache = DeviceCache(CPU, max_bytes=2**20)
    cache.put(3, 1, image(3))
    first = cache.get(3, 1)
    cache.put(3, 1, image(3))
    assert cache.get(3, 1) is first
    assert len(cache) == 1


def test_a_full_cache_keeps_what_it_has_within_its_size():
    cache = DeviceCache(CPU, max_bytes=3 * 4096)
    for row in range(40):
        cache.put(row, 1, image(row))
    kept = [row for row in range(40) if cache.get(row, 1) is not None]
    # Three pieces with three images of 1110 bytes each.
    assert kept == list(range(9))
    assert cache.bytes == 3 * 4096
    assert cache.is_full
    for row in kept:
        assert torch.equal(cache.get(row, 1), image(row))


def test_cleared_cache_begins_anew_and_what_a_batch_still_has_stays():
    cache = DeviceCache(CPU, max_bytes=4096)
    cache.put(0, 1, image(0, (64, 64)))
    cache.put(1, 1, image(1))
    used = cache.get(0, 1)
    cache.clear()
    assert (len(cache), cache.bytes, cache.is_full) == (0, 0, False)
    cache.put(1, 1, image(1))
    assert torch.equal(cache.get(1, 1), image(1))
    assert torch.equal(used, image(0, (64, 64)))


def test_a_quarter_of_the_device_is_left_free(monkeypatch):
    gib = 2**30
    cache = DeviceCache(CPU, max_bytes=0)
    cache.max_bytes = None
    left = iter([(10 * gib, 16 * gib), (4 * gib + 4096, 16 * gib), (4 * gib + 4095, 16 * gib)])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: next(left))
    for row in range(12):
        cache.put(row, 1, image(row))
    assert len(cache) == 6
    assert cache.bytes == 2 * 4096
    assert cache.is_full


@pytest.mark.gpu
def test_images_are_kept_on_the_gpu():
    cache = DeviceCache(torch.device("cuda"))
    for row, dtype in enumerate([torch.uint8, torch.uint16]):
        cache.put(row, 2, image(row, dtype=dtype).cuda())
        found = cache.get(row, 2)
        assert found.is_cuda
        assert torch.equal(found.cpu(), image(row, dtype=dtype))
