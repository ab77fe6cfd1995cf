"""Distortions move image and mask alike, are drawn for each position, and need the original albumentations."""

import numpy as np
import pytest
import torch
from augmentation_draws import only, parameters
from loading_data import plan

from pneumo.loading.augmentation import distortion
from pneumo.loading.augmentation.distortion import Distortion, DistortionTransform
from pneumo.runtime.errors import UserError

DISTORTED = only(distortion=Distortion(probability=1))


def distort(kind: str, seed: int, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a distorted copy of both."""
    image, mask = image.copy(), mask.copy()
    DistortionTransform(kind=kind, seed=seed).apply_to_arrays(image, mask)
    return image, mask


@pytest.mark.parametrize("kind", ["elastic", "grid", "optical"])
def test_distortion_moves_image_and_mask_alike(kind):
    size = 128
    y, x = np.mgrid[:size, :size]
    mask = (np.hypot(y - 50, x - 70) < 25).astype(np.uint8)
    image = mask.astype(np.float32)
    moved, moved_mask = distort(kind, 7, image, mask)
    assert (moved.shape, moved.dtype, moved_mask.dtype) == (image.shape, np.float32, np.uint8)
    assert (moved_mask != mask).mean() > 0.001
    assert ((moved > 0.5) != moved_mask).mean() < 0.01
    again, _ = distort(kind, 7, image, mask)
    other, _ = distort(kind, 8, image, mask)
    assert np.array_equal(moved, again)
    assert not np.array_equal(moved, other)


@pytest.mark.parametrize("kind", ["elastic", "grid", "optical"])
def test_a_lesion_is_marked_unless_it_is_moved_out_of_the_view(kind):
    size, seen = 64, {"sampled": 0, "skipped": 0, "outside": 0}
    y, x = np.mgrid[:size, :size].astype(np.float32)
    nothing = np.zeros((size, size), np.uint8)
    for seed in range(20):
        # Where each pixel comes from; -1 = from outside.
        columns, rows = (distort(kind, seed, coordinates + 1, nothing)[0] - 1 for coordinates in (x, y))
        inside = (columns >= 0) & (rows >= 0)
        for row, column in np.random.default_rng(seed).integers(1, size - 1, (6, 2)):
            mask = nothing.copy()
            mask[row, column] = 1
            _, moved = distort(kind, seed, x, mask)
            near = inside & (abs(columns - column) < 1) & (abs(rows - row) < 1)
            nearest = near & (np.rint(columns) == column) & (np.rint(rows) == row)
            seen["sampled" if nearest.any() else "skipped" if near.any() else "outside"] += 1
            assert moved.any() == near.any()
            assert near[moved > 0].all(), "what is marked comes from the lesion"
    assert seen["sampled"] >= 30
    assert seen["skipped"] >= 5
    assert seen["outside"] >= (20 if kind == "optical" else 0)


@pytest.mark.parametrize(
    ("kind", "size", "columns"),
    [
        ("elastic", 64, [29.98, 19.908, 45.158]),
        ("elastic", 512, [241.38, 160.409, 362.143]),
        ("grid", 512, [231.71, 152.048, 357.66]),
        ("optical", 512, [240.218, 158.81, 363.625]),
    ],
)
def test_a_resumed_run_is_distorted_as_by_earlier_versions(kind, size, columns):
    """Where three pixels come from, written down once; where it changes on purpose, RNG_SCHEME is raised."""
    ramp = np.tile(np.arange(size, dtype=np.float32), (size, 1))
    moved, _ = distort(kind, 5, ramp, np.zeros((size, size), np.uint8))
    at = np.array([[20, 32, 40], [30, 20, 45]]) * size // 64
    np.testing.assert_allclose(moved[at[0], at[1]], columns, atol=0.002)


def test_kinds_are_even():
    drawn = [parameters(DISTORTED, position).pixel_transforms for position in range(3000)]
    kinds = [transform.kind for (transform,) in drawn]
    for kind in ("elastic", "grid", "optical"):
        assert kinds.count(kind) / 3000 == pytest.approx(1 / 3, abs=0.03)
    assert len({transform.seed for (transform,) in drawn}) > 2990


def test_elastic_displacement_scales_with_the_image():
    def edge_shift(size: int) -> float:
        ramp = np.tile(np.linspace(0, 1, size, dtype=np.float32), (size, 1))
        moved, _ = distort("elastic", 3, ramp, np.zeros((size, size), np.uint8))
        inner = np.s_[size // 4 : -size // 4, size // 4 : -size // 4]
        return float((moved - ramp)[inner].std())  # as a fraction of the image's width

    assert edge_shift(128) == pytest.approx(edge_shift(512), rel=0.4)


def test_distortion_is_drawn_per_position_and_independent_of_workers(data):
    plans = [plan([0, 0, 0, 0, 4, 4], 96, DISTORTED, first=6 * i) for i in range(2)]
    one, three = list(data.opencv(workers=1)(plans)), list(data.opencv(workers=3)(plans))
    for a, b in zip(one, three, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.mask, b.mask)
    pictures = torch.cat([batch.image[:4] for batch in one])
    assert len({p.numpy().tobytes() for p in pictures}) == 8
    assert 0 <= pictures.min() <= pictures.max() <= 1


def test_dali_has_no_distortion():
    assert Distortion.opencv_only
    with pytest.raises(NotImplementedError, match="DistortionTransform"):
        DistortionTransform(kind="grid", seed=0).apply_to_tensor(torch.zeros(8, 8))


def test_albumentationsx_is_refused(monkeypatch):
    class Installed:
        version = "2.5.1"

    Distortion(probability=1).check_libraries()
    monkeypatch.setattr(distortion, "distribution", lambda name: Installed())
    with pytest.raises(UserError, match=r"albumentationsx 2\.5\.1 is installed; .*pip uninstall albumentationsx"):
        Distortion(probability=1).check_libraries()
