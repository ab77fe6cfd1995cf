"""Decoding and downsampling of a sample's image."""

import numpy as np
from loading_data import CASES, ROW

from pneumo.loading.images import downsample, read_encoded, read_image


def test_downsampling_averages_blocks_and_repeats_the_far_edge():
    image = np.arange(15, dtype=np.uint16).reshape(3, 5)
    assert downsample(image, 2).tolist() == [[3, 5, 7], [11, 13, 14]]
    assert downsample(np.full((9, 9), 65535, np.uint16), 8).tolist() == [[65535] * 2] * 2


def test_encoded_file_is_the_one_in_the_shard(data):
    for row in range(len(CASES)):
        assert read_encoded(data.reader, row).tobytes() == data.files[row]


def test_image_is_read_at_every_factor(data):
    row = ROW["large"]
    for factor in (1, 2, 4, 8):
        means = data.pixels(row).reshape(1024 // factor, factor, 1024 // factor, factor).mean(axis=(1, 3))
        assert np.abs(read_image(data.reader, row, factor) - means).max() < 3.5 / 255


def test_png_is_averaged_at_every_factor(data):
    row = ROW["deep"]
    assert np.array_equal(read_image(data.reader, row), data.pixels(row).astype(np.float32))
    for factor in (1, 2, 4, 8):
        means = data.pixels(row).reshape(256 // factor, factor, 256 // factor, factor).mean(axis=(1, 3))
        np.testing.assert_allclose(read_image(data.reader, row, factor), means, rtol=0, atol=0.51 / 65535)


def test_odd_image_is_downsampled_alike_by_decoder_and_by_averages(data):
    row = ROW["odd"]
    for factor in (2, 4, 8):
        by_decoder = read_image(data.reader, row, factor)
        means = downsample(np.round(65535 * data.pixels(row)).astype(np.uint16), factor) / 65535
        assert by_decoder.shape == means.shape == (-(-301 // factor), -(-203 // factor))
        # The decoder continues the image differently beyond the far edges.
        assert np.abs(by_decoder - means)[:-1, :-1].max() < 3.5 / 255
