"""A batch plan's parameters."""

import dataclasses

import numpy as np
import pytest
from loading_data import ROW, plan

from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.parameters import draw
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.loading.geometry import letterbox


def test_plan_without_augmentation_has_letterbox_parameters(data):
    parameters = plan([ROW["odd"]], 128).parameters(0, data.table)
    assert np.array_equal(parameters.matrix, letterbox(301, 203, 128).matrix)
    assert parameters.pixel_transforms == ()


def test_plan_draws_by_its_seed_epoch_and_the_sample_s_position(data):
    augmentation = Augmentation(affine=Affine(probability=1))
    asked = plan([0, ROW["odd"]], 128, augmentation, first=20, epoch=2, seed=9)
    expected = draw(augmentation, seed=9, epoch=2, position=21, rows=301, columns=203, size=128)
    assert np.array_equal(asked.parameters(1, data.table).matrix, expected.matrix)
    assert not np.array_equal(expected.matrix, letterbox(301, 203, 128).matrix)


def test_plan_has_a_position_for_each_row_and_at_least_one():
    with pytest.raises(AssertionError, match="at least one sample"):
        plan([], 64)
    with pytest.raises(AssertionError):
        dataclasses.replace(plan([0, 1], 64), positions=np.arange(3))
