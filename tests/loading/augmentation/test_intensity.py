"""Contrast, gamma and brightness: kinds, ranges, and the formula in both loaders' versions."""

import numpy as np
import pytest
import torch
from augmentation_draws import only, parameters, spans

from pneumo.loading.augmentation.intensity import Intensity, IntensityTransform
from pneumo.runtime.errors import UserError


def transforms(intensity: Intensity) -> list[IntensityTransform]:
    """Draw the transforms of 3000 positions."""
    drawn = [parameters(only(intensity=intensity), position).pixel_transforms for position in range(3000)]
    return [transform for (transform,) in drawn]


def test_kinds_are_even_and_never_combined():
    changed = [(t.contrast != 1, t.gamma != 1, t.brightness != 0) for t in transforms(Intensity(probability=1))]
    assert np.mean(changed, axis=0) == pytest.approx([1 / 3] * 3, abs=0.03)
    assert max(map(sum, changed)) == 1


def test_ranges_are_kept():
    drawn = transforms(Intensity(probability=1, contrast=0.3, gamma=0.4, brightness=0.1))
    assert spans(np.array([t.contrast for t in drawn]), 0.7, 1.3)
    assert spans(np.array([t.gamma for t in drawn]), 0.6, 1.4)
    assert spans(np.array([t.brightness for t in drawn]), -0.1, 0.1)


@pytest.mark.parametrize(
    "change",
    [
        *({}, {"gamma": 0.8}, {"gamma": 1.2}, {"contrast": 1.2}, {"contrast": 0.8}),
        *({"brightness": 0.2}, {"brightness": -0.2}, {"gamma": 0.9, "contrast": 1.1, "brightness": 0.1}),
        # One step beside the values that change nothing.
        *(
            {"contrast": 1.3, "brightness": -0.2},
            {"contrast": 0.7, "brightness": -0.2},
            {"contrast": 0.7, "brightness": 0.6},
        ),
        *({"gamma": 2}, {"gamma": 0}, {"contrast": 2}, {"contrast": 0}, {"brightness": 1}, {"brightness": -1}),
    ],
)
def test_formula_is_the_documented_one_in_both_versions(change):
    transform = IntensityTransform(**change)
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    expected = np.clip(transform.contrast * values.astype(float) ** transform.gamma + transform.brightness, 0, 1)
    image, tensor, mask = values.copy(), torch.from_numpy(values.copy()), np.eye(8, dtype=np.uint8)
    transform.apply_to_arrays(image, mask)
    transform.apply_to_tensor(tensor)
    np.testing.assert_allclose(image, expected, atol=1e-6)
    np.testing.assert_allclose(tensor, expected, atol=1e-6)
    assert np.array_equal(mask, np.eye(8))


def test_contrast_and_brightness_are_equal_to_the_bit_in_both_versions():
    values = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    image, tensor = values.copy(), torch.from_numpy(values.copy())
    transform = IntensityTransform(contrast=1.137, brightness=-0.0731)
    transform.apply_to_arrays(image, np.zeros((64, 64), np.uint8))
    transform.apply_to_tensor(tensor)
    assert np.array_equal(image, tensor.numpy())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_many_images_are_each_changed_by_their_own_transform(device):
    changes = [{"gamma": 1.2}, {}, {"contrast": 0.8}, {"brightness": 0.1}, {"gamma": 0.9, "contrast": 1.1}]
    own = [IntensityTransform(**change) for change in changes]
    values = np.random.default_rng(0).random((len(own), 1, 16, 16), dtype=np.float32)
    images = torch.from_numpy(values.copy()).to(device)
    IntensityTransform.apply_to_tensors(own, list(images))
    for transform, before, after in zip(own, values, images.cpu().numpy(), strict=True):
        expected = np.clip(transform.contrast * before.astype(float) ** transform.gamma + transform.brightness, 0, 1)
        np.testing.assert_allclose(after, expected, atol=1e-6)
    assert np.array_equal(images[1].cpu().numpy(), values[1])


@pytest.mark.parametrize(("field", "value"), [("contrast", 1.0), ("gamma", -0.2), ("brightness", 1.5)])
def test_value_out_of_range_names_its_flag(field, value):
    with pytest.raises(UserError, match=f"--augmentation.intensity.{field} {value}; expected at least 0 and below 1"):
        Intensity(**{field: value})
