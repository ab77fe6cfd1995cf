"""Bins and histograms against numpy's on the host: random masks, odd sizes, probabilities at every threshold."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from plain_histograms import histogram
from plain_histograms import quantize as quantize_on_the_host

from pneumo.inference.device_histograms import count, paint, quantize
from pneumo.masks import rle

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SHAPES = [(1, 1), (1, 17), (31, 1), (30, 50), (37, 41), (64, 64)]


@pytest.mark.parametrize("device", DEVICES)
def test_bins_and_probabilities_are_on_the_same_side_of_every_threshold(device: str) -> None:
    edges = np.arange(257, dtype=np.float32) / np.float32(256)
    beside = [np.nextafter(edges, np.float32(side)) for side in (0, 1)]
    probability = np.concatenate([edges, *beside]).reshape(3, 257)
    given = torch.from_numpy(probability).to(device)
    bins = quantize(given).cpu().numpy()
    assert bins.dtype == np.uint8
    assert np.array_equal(bins, quantize_on_the_host(probability))
    assert np.array_equal(given.cpu().numpy(), probability)
    for b in range(1, 256):
        reached = [Fraction(float(p)) >= Fraction(b, 256) for p in probability.ravel()]
        assert (bins >= b).ravel().tolist() == reached


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_histograms_are_those_of_the_host(device: str, shape: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng([*shape, int(share * 100)])
    bins, truth = rng.integers(0, 256, shape, dtype=np.uint8), rng.random(shape) < share
    runs = rle.parse(rle.encode(truth), truth.size)
    counts = count(torch.from_numpy(bins).to(device), runs)
    assert counts.dtype == torch.int32
    assert counts.device.type == device
    assert np.array_equal(counts.cpu().numpy(), histogram(bins, truth))
    assert np.array_equal(count(torch.from_numpy(bins).to(device)).cpu().numpy(), histogram(bins, None))


def test_bins_may_be_a_part_of_a_larger_map() -> None:
    whole = torch.randint(0, 256, (40, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    part, truth = whole[:33, :47], np.zeros((33, 47), bool)
    truth[5:20, 11:30] = True
    runs = rle.parse(rle.encode(truth))
    assert np.array_equal(count(part, runs).numpy(), histogram(part.numpy(), truth))


@pytest.mark.parametrize("device", DEVICES)
def test_runs_that_touch_are_painted_as_one(device: str) -> None:
    runs = rle.parse("2 3 0 4 1 2")
    painted = paint(runs, 14, torch.device(device)).cpu().numpy()
    assert np.flatnonzero(painted).tolist() == [2, 3, 4, 5, 6, 7, 8, 10, 11]
    assert len(painted) == 14
