"""Resizing to the source image, and the mean over views."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from pneumo.inference import predictor as predictor_module
from pneumo.inference.config import View
from pneumo.inference.predictor import VIEWS, Predictor, require_finite, to_source
from pneumo.loading.geometry import letterbox
from pneumo.modeling.segmenter import SegmenterOutput
from pneumo.runtime.errors import UserError


@pytest.mark.parametrize(
    ("rows", "columns"), [(64, 64), (128, 128), (256, 192), (100, 37), (33, 129), (50, 64), (20, 31)]
)
def test_a_ramp_is_resized_to_the_same_ramp(rows: int, columns: int) -> None:
    """Linear interpolation keeps linear functions, so a misplaced pixel center would show."""
    size = 64
    matrix = letterbox(rows, columns, size).matrix
    y, x = np.mgrid[0:size, 0:size]
    source_x = matrix[0, 0] * x + matrix[0, 2]
    source_y = matrix[1, 1] * y + matrix[1, 2]
    ramp = torch.from_numpy(source_x + 2 * source_y)
    back = to_source(ramp, rows, columns).numpy()
    assert back.shape == (rows, columns)
    expected = np.arange(columns)[None] + 2 * np.arange(rows)[:, None]
    # Beyond the center of the last pixel the value is constant.
    border = int(np.ceil(max(rows, columns) / size))
    inner = np.s_[border:-border, border:-border]
    np.testing.assert_allclose(back[inner], expected[inner], atol=1e-3)


def test_a_source_of_the_networks_size_is_not_changed() -> None:
    pixels = torch.rand(32, 32)
    assert torch.equal(to_source(pixels, 32, 32), pixels)


class LeftHalf(nn.Module):
    """Predicts pneumothorax in the left half where the image is 1, and its presence by the first column."""

    def forward(self, image: torch.Tensor) -> SegmenterOutput:
        side = torch.linspace(4, -4, image.shape[-1]).expand_as(image)
        return SegmenterOutput(side * image, image[:, 0, :, 0].mean(1) * 4 - 2)


class WithoutPresenceHead(LeftHalf):
    def forward(self, image: torch.Tensor) -> SegmenterOutput:
        return SegmenterOutput(super().forward(image).logits, None)


def predictor(model: nn.Module, tta: tuple[View, ...]) -> Predictor:
    return Predictor(model, size=32, tta=tta, autocast=nullcontext)


def test_views_are_averaged_after_undoing_the_flip() -> None:
    image = torch.ones(2, 1, 32, 32)
    image[1, :, :, 16:] = 0
    plain, presence, _ = predictor(LeftHalf(), ())(image)
    torch.testing.assert_close(plain, torch.sigmoid(LeftHalf()(image).logits)[:, 0])
    both, both_presence, _ = predictor(LeftHalf(), ("hflip",))(image)
    other, other_presence, _ = predictor(LeftHalf(), ())(image.flip(-1))
    torch.testing.assert_close(both, (plain + other.flip(-1)) / 2)
    np.testing.assert_allclose(both_presence, (presence + other_presence) / 2, rtol=1e-6)
    assert presence[1] != pytest.approx(both_presence[1])


def test_every_view_has_its_transforms() -> None:
    assert VIEWS.keys() == set(get_args(View))
    image = torch.rand(2, 1, 3, 5)
    for apply, invert in VIEWS.values():
        assert not torch.equal(apply(image), image)
        assert torch.equal(invert(apply(image)), image)


MOVES: dict[View, Callable[[int, int], tuple[int, int]]] = {"hflip": lambda row, column: (row, 4 - column)}
"""Where each view has a pixel of an image of 3 x 5."""


def test_every_view_moves_each_pixel_and_its_maps_are_moved_back() -> None:
    image = torch.rand(2, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    side = np.linspace(4, -4, 5)
    for name, (apply, invert) in VIEWS.items():
        seen, back = apply(image), invert(image)
        mean, _, _ = predictor(LeftHalf(), (name,))(image)
        for n, row, column in np.ndindex(2, 3, 5):
            there = MOVES[name](row, column)
            assert seen[n, 0, *there] == image[n, 0, row, column]
            assert back[n, 0, row, column] == image[n, 0, *there]
            # The network sees the same value at the place itself, and at the one that it has in the view.
            logits = [side[at] * float(image[n, 0, row, column]) for at in (column, there[1])]
            expected = sum(1 / (1 + math.exp(-logit)) for logit in logits) / 2
            assert float(mean[n, row, column]) == pytest.approx(expected, abs=1e-6)


def test_a_view_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = (lambda image: image.rot90(1, (-2, -1)), lambda maps: maps.rot90(-1, (-2, -1)))
    monkeypatch.setattr(predictor_module, "VIEWS", VIEWS | {"turned": turned})
    image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    plain, _, _ = predictor(LeftHalf(), ())(image)
    other, _, _ = predictor(LeftHalf(), ())(turned[0](image))
    both, _, _ = predictor(LeftHalf(), ("turned",))(image)
    torch.testing.assert_close(both, (plain + turned[1](other)) / 2)


def test_without_a_presence_head_the_probability_is_nan() -> None:
    _, presence, _ = predictor(WithoutPresenceHead(), ("hflip",))(torch.ones(3, 1, 32, 32))
    assert presence.shape == (3,)
    assert presence.isnan().all()


def interpolate(pixels: np.ndarray, y: float, x: float) -> float:
    """Interpolate linearly between the four pixels around a point, the outer ones continued beyond the edge."""
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    total = 0.0
    for row, row_weight in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
        for column, column_weight in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
            height, width = pixels.shape
            value = pixels[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
            total += row_weight * column_weight * float(value)
    return total


@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (57, 31), (20, 64), (9, 13), (93, 20), (20, 93)])
def test_each_pixel_of_the_source_is_interpolated_in_the_content_of_the_letterbox(rows: int, columns: int) -> None:
    size = 32
    box = letterbox(rows, columns, size)
    pixels = torch.rand(size, size, generator=torch.Generator().manual_seed(rows))
    content = pixels[box.top : box.top + box.height, box.left : box.left + box.width].numpy()
    found = to_source(pixels, rows, columns).numpy()
    for y, x in np.ndindex(rows, columns):
        # Pixel centers are at half coordinates; before the first center the value is constant.
        expected = interpolate(content, max((y + 0.5) * box.scale - 0.5, 0), max((x + 0.5) * box.scale - 0.5, 0))
        assert found[y, x] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("part", ["logits", "presence_logit"])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_probability_that_is_not_finite_is_refused(part: str, flipped: bool) -> None:
    """In one image of one view; a logit of infinity is a probability of 1."""

    class Broken(LeftHalf):
        def forward(self, image: torch.Tensor) -> SegmenterOutput:
            output = super().forward(image)
            if bool(image[0, 0, 0, 0] == 0) == flipped:
                getattr(output, part)[1] = np.nan
            return output

    image = torch.ones(2, 1, 32, 32)
    image[0, :, :, 16:] = 0
    with pytest.raises(UserError, match=r"not finite; expected numbers in \[0, 1\]; use --precision fp32"):
        require_finite(predictor(Broken(), ("hflip",))(image).finite)
    if flipped:
        require_finite(predictor(Broken(), ())(image).finite)
