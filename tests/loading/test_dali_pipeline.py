"""The DALI pipeline: images of files, and what it can decode."""

import numpy as np
import pytest
from loading_data import CASES, ROW
from torch.utils.dlpack import from_dlpack

pytest.importorskip("nvidia.dali")

from pneumo.loading.dali_pipeline import build_pipeline, can_decode


def test_pipeline_decodes_batches_of_any_shapes_and_depths_to_the_level(data):
    """Both libraries round the inverse transform of these files alike; 16-bit levels are exact."""
    batches = [[ROW["odd"], ROW["deep"]], [ROW["large"]], [ROW["deep and wide"], ROW["square"], ROW["upright"]]]
    rest = iter(batches)
    pipeline = build_pipeline(lambda: [np.frombuffer(data.files[row], np.uint8) for row in next(rest)], 3, None, 1)
    for rows in batches:
        (output,) = pipeline.run()
        for row, image in zip(rows, output, strict=True):
            assert image.shape() == [CASES[row].rows, CASES[row].columns, 1]
            np.testing.assert_allclose(from_dlpack(image)[..., 0], data.pixels(row), rtol=0, atol=1e-7)
    with pytest.raises(StopIteration):
        pipeline.run()


def test_only_images_can_be_decoded(data):
    for row in range(len(CASES)):
        assert can_decode(np.frombuffer(data.files[row], np.uint8), None)
    file = data.files[ROW["square"]]
    for damaged in (b"not an image", file[:100], bytes(len(file))):
        assert not can_decode(np.frombuffer(damaged, np.uint8), None)
