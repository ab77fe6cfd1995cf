"""Levels of decoded images."""

import numpy as np
import pytest
import torch

from pneumo.loading.decoded_levels import to_levels

DTYPES = {np.uint8: torch.uint8, np.uint16: torch.uint16}


def block_means(image, factor):
    """Return the means of blocks, halves rounded up, of integers that are repeated beyond the far edges."""
    rows, columns = -(-image.shape[0] // factor), -(-image.shape[1] // factor)
    filled = np.pad(
        image.astype(int), ((0, rows * factor - image.shape[0]), (0, columns * factor - image.shape[1])), "edge"
    )
    return (2 * filled.reshape(rows, factor, columns, factor).sum(axis=(1, 3)) + factor**2) // (2 * factor**2)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_are_exactly_the_rounded_means_of_blocks(dtype, factor, device):
    white = np.iinfo(dtype).max
    image = np.random.default_rng(factor).integers(0, white + 1, (101, 83)).astype(dtype)
    # As DALI scales them: by a product that may be off by a unit in the last place.
    decoded = torch.from_numpy(image.astype(np.float32) * np.float32(1 / white)).to(device)
    levels = to_levels(decoded, DTYPES[dtype], factor)
    assert levels.dtype == DTYPES[dtype]
    assert np.array_equal(levels.cpu().numpy(), block_means(image, factor))


def test_decoded_image_is_not_changed():
    decoded = torch.rand(16, 16)
    before = decoded.clone()
    to_levels(decoded, torch.uint8, 2)
    assert torch.equal(decoded, before)
