"""The loaders' parts: choice of a loader, tone, distortion, shrinking, and working ahead."""

import dataclasses

import numpy as np
import pytest
import torch
from loading_data import ROW, plan

from pneumo.loading import batches, dali, distortion, opencv
from pneumo.loading.augmentation import Augmentation, AugmentationParameters
from pneumo.loading.geometry import letterbox
from pneumo.loading.prefetch import prefetch
from pneumo.runtime.errors import UserError

DISTORTED = Augmentation(hflip=0, affine=0, intensity=0, distortion=1)


@pytest.mark.parametrize(
    ("kind", "device", "installed", "distort", "expected"),
    [
        pytest.param("auto", "cpu", True, 0, "OpenCvLoader", id="auto on a CPU"),
        pytest.param("auto", "cuda", False, 0, "OpenCvLoader", id="auto without DALI"),
        pytest.param("auto", "cuda", True, 0.5, "OpenCvLoader", id="auto with distortion"),
        pytest.param("auto", "cuda", True, 0, "dali", id="auto on a GPU"),
        pytest.param("opencv", "cuda", True, 0, "OpenCvLoader", id="opencv anywhere"),
        pytest.param("dali", "cpu", True, 0, "dali", id="dali on a CPU"),
    ],
)
def test_loader_is_chosen(data, monkeypatch, kind, device, installed, distort, expected):
    monkeypatch.setattr(batches, "has_dali", lambda: installed)
    monkeypatch.setattr(batches, "_build_dali", lambda *_: "dali")
    loader = batches.build(
        kind, data.reader, data.table, torch.device(device), 1, augmentation=Augmentation(distortion=distort)
    )
    assert (loader if loader == "dali" else type(loader).__name__) == expected


def test_dali_is_built_when_asked_for(data):
    assert type(batches.build("dali", data.reader, data.table, torch.device("cpu"), 1)).__name__ == "DaliLoader"


def test_dali_refuses_distortion(data):
    with pytest.raises(UserError, match=r"distortion = 0\.3; expected distortion = 0, or the loader opencv"):
        batches.build(
            "dali", data.reader, data.table, torch.device("cpu"), 1, augmentation=Augmentation(distortion=0.3)
        )


def test_missing_dali_is_said(data, monkeypatch):
    monkeypatch.setattr(batches, "has_dali", lambda: False)
    with pytest.raises(UserError, match=r"DALI is not installed.*set --loader opencv"):
        batches.build("dali", data.reader, data.table, torch.device("cpu"), 1)


def test_albumentationsx_is_refused_where_distortion_needs_the_original(data, monkeypatch):
    class Installed:
        version = "2.5.1"

    monkeypatch.setattr(batches, "distribution", lambda name: Installed())
    with pytest.raises(UserError, match=r"albumentationsx 2\.5\.1 is installed; .*pip uninstall albumentationsx"):
        batches.build("auto", data.reader, data.table, torch.device("cpu"), 1, augmentation=DISTORTED)
    batches.build("auto", data.reader, data.table, torch.device("cpu"), 1, augmentation=Augmentation())


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"gamma": 0.8},
        {"gamma": 1.2},
        {"contrast": 1.2},
        {"contrast": 0.8},
        {"brightness": 0.2},
        {"brightness": -0.2},
    ],
)
def test_tone_curve_is_the_documented_one_in_both_loaders(change):
    parameters = AugmentationParameters(matrix=np.eye(3)[:2], **change)
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    expected = np.clip(parameters.contrast * values.astype(float) ** parameters.gamma + parameters.brightness, 0, 1)
    image, tensor = values.copy(), torch.from_numpy(values.copy())
    opencv.apply_intensity(image, parameters)
    dali.apply_intensity(tensor, parameters)
    np.testing.assert_allclose(image, expected, atol=1e-6)
    np.testing.assert_allclose(tensor, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["elastic", "grid", "optical"])
def test_distortion_moves_image_and_mask_alike(kind):
    size = 128
    y, x = np.mgrid[:size, :size]
    mask = (np.hypot(y - 50, x - 70) < 25).astype(np.uint8)
    image = mask.astype(np.float32)
    moved, moved_mask = distortion.distort(kind, 7, image, mask)
    assert (moved.shape, moved.dtype, moved_mask.dtype) == (image.shape, np.float32, np.uint8)
    assert (moved_mask != mask).mean() > 0.001
    assert ((moved > 0.5) != moved_mask).mean() < 0.01
    again, _ = distortion.distort(kind, 7, image, mask)
    other, _ = distortion.distort(kind, 8, image, mask)
    assert np.array_equal(moved, again)
    assert not np.array_equal(moved, other)


def test_elastic_displacement_scales_with_the_image():
    def edge_shift(size: int) -> float:
        ramp = np.tile(np.linspace(0, 1, size, dtype=np.float32), (size, 1))
        moved, _ = distortion.distort("elastic", 3, ramp, np.zeros((size, size), np.uint8))
        inner = np.s_[size // 4 : -size // 4, size // 4 : -size // 4]
        return float((moved - ramp)[inner].std())  # in shares of the image's width

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


def test_shrink_averages_blocks_and_repeats_the_far_edge():
    image = np.arange(15, dtype=np.float32).reshape(3, 5)
    small = opencv.shrink(image, 2)
    assert small.tolist() == [[3, 5, 6.5], [10.5, 12.5, 14]]


def test_image_is_read_at_every_reduction(data):
    row = ROW["large"]
    for factor in (1, 2, 4, 8):
        means = data.pixels(row).reshape(1024 // factor, factor, 1024 // factor, factor).mean(axis=(1, 3))
        assert np.abs(opencv.read_image(data.reader, row, factor) - means).max() < 3.5 / 255


def test_odd_image_is_reduced_alike_by_decoder_and_by_averages(data):
    row = ROW["odd"]
    for factor in (2, 4, 8):
        by_decoder = opencv.read_image(data.reader, row, factor)
        means = opencv.shrink(data.pixels(row).astype(np.float32), factor)
        assert by_decoder.shape == means.shape == (-(-301 // factor), -(-203 // factor))
        # The decoder has its own idea of what lies beyond the far edges.
        assert np.abs(by_decoder - means)[:-1, :-1].max() < 3.5 / 255


def test_unlabelled_images_have_an_empty_mask(data):
    (batch,) = data.opencv()([plan([ROW["unlabelled"]], 64)])
    assert not batch.mask.any()
    assert batch.image.any()


def test_identity_plan_has_letterbox_parameters(data):
    asked = plan([ROW["odd"]], 128)
    assert np.array_equal(asked.parameters(0, data.table).matrix, letterbox(301, 203, 128).matrix)
    moved = dataclasses.replace(asked, augmentation=Augmentation(affine=1))
    assert not np.array_equal(moved.parameters(0, data.table).matrix, letterbox(301, 203, 128).matrix)


def test_look_ahead_keeps_order_and_stays_within_its_bound():
    given: list[int] = []

    def started():
        for number in range(20):
            # What was started and not yet given back: the bound of 6 is exceeded by at most one item's weight.
            assert 3 * (number - len(given)) <= 6 + 3 + 3
            yield number

    for number in prefetch(started(), lambda _: 3, enough=6):
        given += [number]
    assert given == list(range(20))
