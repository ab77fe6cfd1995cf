"""The DALI pipeline's inputs, and what it can decode."""

import numpy as np
import pytest
from loading_data import CASES, ROW

pytest.importorskip("nvidia.dali")

from pneumo.loading.dali_pipeline import PipelineShape, batch_inputs, can_decode, downsample_sizes, sample_inputs

UNIT = np.array([[1.0, 0, 0], [0, 1, 0]])


def test_downsampling_covers_odd_sides_in_full_and_stops_at_the_factor():
    sizes, extents = downsample_sizes(301, 203, 4, 3)
    assert sizes.tolist() == [[151, 102], [76, 51], [76, 51]]
    assert extents.tolist() == [[302, 204], [152, 102], [76, 51]]


@pytest.mark.parametrize(("steps", "lists"), [(0, 3), (2, 5)])
def test_inputs_are_one_list_for_each_field_that_the_pipeline_uses(steps, lists):
    file = np.zeros(10, np.uint8)
    samples = [sample_inputs(file, (128, 64), UNIT, size=128, steps=steps) for _ in range(3)]
    inputs = batch_inputs(samples, PipelineShape(samples=4, downsample_steps=steps))
    assert [len(values) for values in inputs] == [3] * lists
    assert inputs[0][0] is file
    assert np.array_equal(inputs[1][0], UNIT)
    assert inputs[2][0].tolist() == [128, 128]


def test_only_images_can_be_decoded(data):
    for row in range(len(CASES)):
        assert can_decode(np.frombuffer(data.files[row], np.uint8), None)
    file = data.files[ROW["square"]]
    for damaged in (b"not an image", file[:100], bytes(len(file))):
        assert not can_decode(np.frombuffer(damaged, np.uint8), None)
