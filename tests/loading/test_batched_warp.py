"""The warp of a batch, against its closed form in float64."""

import numpy as np
import pytest
import torch

from pneumo.loading.batched_warp import SUBPIXELS, warp_batch
from pneumo.loading.geometry import letterbox

SHAPES = [(301, 203), (512, 512), (91, 183), (700, 530)]


def levels(shape, *, seed=0, dtype=np.uint8):
    """Return black and white pixels at random: the largest difference between any two neighbours."""
    white = np.random.default_rng(seed).random(shape) < 0.5
    return (white * np.iinfo(dtype).max).astype(dtype)


def random_matrix(shape, size, seed):
    rng = np.random.default_rng(seed)
    step, angle = max(shape) / size * rng.uniform(0.8, 1.2), rng.uniform(-0.8, 0.8)
    cosine, sine = step * np.cos(angle), step * np.sin(angle)
    return np.array([[cosine, -sine, rng.uniform(-40, 60)], [sine, cosine, rng.uniform(-40, 60)]])


def interpolate(image, matrix, size):
    """Interpolate linearly between pixel centers, with black around the image."""
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    x, y = np.einsum("ij,jrc->irc", matrix, np.stack([columns, rows, np.ones_like(rows)]))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    padded = np.pad(image, 1)

    def at(row, column):
        inside = (row >= -1) & (row <= image.shape[0]) & (column >= -1) & (column <= image.shape[1])
        return np.where(inside, padded[np.where(inside, row + 1, 0), np.where(inside, column + 1, 0)], 0)

    right, down = x - left, y - top
    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down


def warp(images, matrices, size):
    return warp_batch([torch.from_numpy(image) for image in images], matrices, size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_warp_is_linear_interpolation_within_the_stated_tolerance(shape, seed):
    image, matrix = levels(shape, seed=seed), random_matrix(shape, 256, seed)
    (warped,) = warp([image], [matrix], 256)[0].numpy()
    assert warped.dtype == np.float32
    difference = np.abs(warped - interpolate(image / 255, matrix, 256))
    assert difference.max() < 2 / SUBPIXELS
    assert difference.mean() < 1e-4


def test_a_sample_does_not_depend_on_the_others_of_its_batch():
    images = [levels(shape, seed=seed) for seed, shape in enumerate([*SHAPES, (1400, 900)])]
    images[2] = levels(SHAPES[2], dtype=np.uint16)
    matrices = [random_matrix(image.shape, 192, seed) for seed, image in enumerate(images)]
    together = warp(images, matrices, 192)
    for image, matrix, warped in zip(images, matrices, together, strict=True):
        assert torch.equal(warp([image], [matrix], 192)[0], warped)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_whole_pixels_keep_their_values_to_the_bit(dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (200, 120)).astype(dtype)
    matrix = letterbox(200, 120, 200).matrix
    expected = image.astype(np.float32) / np.float32(np.iinfo(dtype).max)
    flip = np.array([[-1.0, 0, 199], [0, 1, 0], [0, 0, 1]])
    plain, flipped = warp([image] * 2, [matrix, matrix @ flip], 200)[:, 0].numpy()
    assert np.array_equal(plain[:, 40:160], expected)
    assert np.array_equal(flipped[:, 40:160], expected[:, ::-1])
    assert not plain[:, :40].any()
    assert not plain[:, 160:].any()


def test_an_edge_fades_to_black_within_a_pixel():
    white = np.full((2, 2), 255, np.uint8)
    quarters = np.array([[0.25, 0, -1], [0, 1, 0]])
    (row, _, outside, *_) = warp([white], [quarters], 12)[0, 0].tolist()
    assert row == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert outside == [0] * 12


def test_white_stays_within_range():
    white = np.full((300, 300), 65535, np.uint16)
    warped = warp([white], [random_matrix(white.shape, 256, 1)], 256)
    assert warped.max() == 1
    assert warped.min() == 0


@pytest.mark.gpu
def test_the_gpu_warps_as_the_cpu_does():
    images = [levels(shape, seed=seed) for seed, shape in enumerate(SHAPES)]
    images.append(levels((300, 300), dtype=np.uint16))
    matrices = [random_matrix(image.shape, 256, seed) for seed, image in enumerate(images)]
    on_gpu = warp_batch([torch.from_numpy(image).cuda() for image in images], matrices, 256)
    assert on_gpu.is_cuda
    # Only the order of the weighted sum is the device's own.
    assert (on_gpu.cpu() - warp(images, matrices, 256)).abs().max() < 1e-6
    alike = [images[1], levels(SHAPES[1], seed=9)]
    on_gpu = warp_batch([torch.from_numpy(image).cuda() for image in alike], matrices[:2], 256)
    assert (on_gpu.cpu() - warp(alike, matrices[:2], 256)).abs().max() < 1e-6
