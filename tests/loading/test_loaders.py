"""What both loaders promise: exact pixels, the same on any number of ranks, order, errors that name the image."""

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from loading_data import ALL, CASES, EVERYTHING, ROW, load_with, plan, write_dataset
from PIL import Image
from scipy import ndimage

from pneumo.dataset.shard_reader import ShardReader
from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.flip import Flip
from pneumo.loading.augmentation.intensity import Intensity
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.loading.cache_layout import CacheLayout
from pneumo.loading.contract import Batch
from pneumo.loading.decoded_cache import DecodedCache, MemoryStorage, storage_bytes
from pneumo.loading.geometry import homogeneous, letterbox
from pneumo.masks import rle
from pneumo.runtime.errors import UserError

GEOMETRY = Augmentation(affine=Affine(probability=1, rotate_deg=20), intensity=Intensity(probability=0))
FLIP = Augmentation(flip=Flip(probability=1), affine=Affine(probability=0), intensity=Intensity(probability=0))


@pytest.fixture(params=["opencv", "dali"])
def make_loader(request, data):
    return getattr(data, request.param)


def equal(left: list[Batch], right: list[Batch]) -> bool:
    return all(
        torch.equal(a.image, b.image) and torch.equal(a.mask, b.mask) and np.array_equal(a.rows, b.rows)
        for a, b in zip(left, right, strict=True)
    )


def test_batches_follow_the_plans_in_length_size_and_order(make_loader):
    plans = [plan([0, 1, 2], 64), plan([3], 64), plan([4, 5], 96), plan(ALL, 96), plan([6], 32, EVERYTHING)]
    batches = list(make_loader()(plans))
    assert [b.rows.tolist() for b in batches] == [p.rows.tolist() for p in plans]
    for batch, asked in zip(batches, plans, strict=True):
        assert batch.image.shape == batch.mask.shape == (len(asked.rows), 1, asked.size, asked.size)
        assert batch.image.dtype == batch.mask.dtype == torch.float32
        assert 0 <= batch.image.min() <= batch.image.max() <= 1
        assert set(batch.mask.unique().tolist()) <= {0.0, 1.0}
        for row, mask in zip(batch.rows, batch.mask, strict=True):
            assert bool(mask.any()) == CASES[row].positive


def test_a_crop_is_a_part_of_the_augmented_image(make_loader, data):
    """Of whole pixels, drawn for each sample, whatever else was drawn; the masks are of the same part."""
    whole = plan(ALL, 96, EVERYTHING)
    cropped = replace(whole, crop_size=64)
    first, second = make_loader()([whole, cropped])
    assert second.image.shape == second.mask.shape == (len(ALL), 1, 64, 64)
    corners = set()
    for index in range(len(ALL)):
        offset = np.linalg.solve(
            homogeneous(whole.parameters(index, data.table).matrix),
            homogeneous(cropped.parameters(index, data.table).matrix),
        )
        x, y = np.round(offset[:2, 2]).astype(int)
        assert np.allclose(offset, [[1, 0, x], [0, 1, y], [0, 0, 1]], atol=1e-9)
        corners.add((x, y))
        part = (index, 0, slice(y, y + 64), slice(x, x + 64))
        torch.testing.assert_close(second.image[index, 0], first.image[part], rtol=0, atol=2 / 255)
        assert (second.mask[index, 0] != first.mask[part]).float().mean() < 0.002
    assert len(corners) > len(ALL) // 2
    assert all(0 <= place <= 32 for corner in corners for place in corner)


def test_no_mask_is_read_or_made_for_a_plan_without_masks(make_loader, monkeypatch):
    """Also not into the cache; the images are the same."""
    plans = [plan(ALL, 96), plan(ALL, 96, EVERYTHING)]
    expected = list(make_loader()(plans))
    monkeypatch.setattr(ShardReader, "rle", lambda *_: pytest.fail("run lengths were read"))
    loader = make_loader()
    layout = CacheLayout.of(loader.reader.table, np.array(ALL), 96)
    loader.cache = DecodedCache(layout, MemoryStorage(storage_bytes(layout)))
    for ours, theirs in zip(loader([replace(p, with_masks=False) for p in plans]), expected, strict=True):
        assert torch.equal(ours.image, theirs.image)
        assert ours.mask.shape == (0,)


@pytest.mark.parametrize("name", ["square", "deep"])
def test_image_of_the_network_size_passes_through_to_the_pixel(make_loader, data, name):
    row = ROW[name]
    for asked, turn in ((plan([row], 256), 1), (plan([row], 256, FLIP), -1)):
        (batch,) = make_loader()([asked])
        # One unit in the last place: DALI multiplies by 1/255 where others divide by 255.
        np.testing.assert_allclose(batch.image[0, 0], data.pixels(row)[:, ::turn], rtol=0, atol=1e-7)
        assert np.array_equal(batch.mask[0, 0], data.masks[row][:, ::turn])


def test_image_that_is_not_square_is_centered_on_black(make_loader, data):
    row = ROW["upright"]  # 200 x 120 fits 200 x 200 with 40 columns on either side
    (batch,) = make_loader()([plan([row], 200)])
    image, mask = batch.image[0, 0], batch.mask[0, 0]
    np.testing.assert_allclose(image[:, 40:160], data.pixels(row), rtol=0, atol=1e-7)
    assert np.array_equal(mask[:, 40:160], data.masks[row])
    for outside in (slice(0, 40), slice(160, 200)):
        assert not image[:, outside].any()
        assert not mask[:, outside].any()


@pytest.mark.parametrize("name", ["square", "odd", "deep and wide"])
def test_warp_agrees_with_an_independent_one(make_loader, data, name):
    """At a size that needs no downsampling, up to the fixed-point coordinates of older OpenCV (1/32 of a pixel)."""
    row, size = ROW[name], 224 if name != "odd" else 192
    asked = plan([row], size, GEOMETRY)
    (batch,) = make_loader()([asked])
    matrix = asked.parameters(0, data.table).matrix[::-1, [1, 0, 2]]  # (row, column) order
    expected = ndimage.affine_transform(
        data.pixels(row), matrix[:, :2], matrix[:, 2], (size, size), order=1, mode="grid-constant"
    )
    difference = np.abs(batch.image[0, 0].numpy() - expected)
    assert difference.mean() < 5e-4
    assert difference.max() < 0.02


def test_large_image_is_averaged_not_sampled(make_loader, data):
    """1024 to 128: every output pixel is the mean of 8 x 8, where skipping pixels would keep the grain."""
    row = ROW["large"]
    (batch,) = make_loader()([plan([row], 128)])
    means = data.pixels(row).reshape(128, 8, 128, 8).mean(axis=(1, 3))
    # libjpeg's downsampling decoder and the mean of decoded pixels differ by their roundings to 1/255.
    assert np.abs(batch.image[0, 0].numpy() - means).max() < 3 / 255
    sampled = data.pixels(row)[4::8, 4::8]
    assert np.abs(sampled - means).max() > 8 / 255


def test_downsampling_keeps_odd_images_in_place(make_loader, data):
    row, size = ROW["odd"], 96  # 301 x 203 is downsampled to 151 x 102 on the way
    (batch,) = make_loader()([plan([row], size)])
    box = letterbox(301, 203, size)
    smooth = ndimage.uniform_filter(data.pixels(row), 2, origin=-1)
    matrix = box.matrix[::-1, [1, 0, 2]]
    expected = ndimage.affine_transform(smooth, matrix[:, :2], matrix[:, 2] - 0.5, (size, size), order=1)
    inside = np.s_[2 : box.height - 2, box.left + 2 : box.left + box.width - 2]
    assert np.abs(batch.image[0, 0].numpy() - expected)[inside].mean() < 0.012
    # A shift by half a pixel would be seen as a correlation with the gradient.
    slope = np.gradient(expected)[1][inside].ravel()
    error = (batch.image[0, 0].numpy() - expected)[inside].ravel()
    assert abs(np.dot(error, slope) / np.dot(slope, slope)) < 0.1


@pytest.mark.parametrize("size", [64, 96, 256])
def test_loaders_agree_on_the_same_parameters(data, size):
    """Masks to the bit, images to a gray level or so: only the downsampling decoder rounds differently."""
    plans = [plan(ALL, size, EVERYTHING, first=10 * i) for i in range(3)]
    for ours, theirs in zip(data.opencv()(plans), data.dali()(plans), strict=True):
        assert torch.equal(ours.mask, theirs.mask)
        difference = (ours.image - theirs.image).abs()
        assert difference.mean() < 1 / 255
        assert difference.flatten(1).quantile(0.999, dim=1).max() < 5 / 255


def test_number_of_workers_does_not_change_a_batch(make_loader):
    plans = [plan(ALL, 96, EVERYTHING, first=8 * i) for i in range(4)]
    assert equal(list(make_loader(workers=1)(plans)), list(make_loader(workers=3)(plans)))


def test_two_ranks_see_what_one_would(make_loader):
    plans = [plan([i % 7, (i + 3) % 7], 64, EVERYTHING, first=2 * i, epoch=3) for i in range(6)]
    whole = list(make_loader()(plans))
    per_rank = [list(make_loader()(plans[rank::2])) for rank in range(2)]
    assert equal(whole, [batch for pair in zip(*per_rank, strict=True) for batch in pair])


def test_resumed_run_sees_the_rest_of_the_epoch(make_loader):
    plans = [plan(ALL, 64, EVERYTHING, first=8 * i) for i in range(4)]
    loader = make_loader()
    stopped = loader(plans)
    next(stopped)
    stopped.close()
    assert equal(list(make_loader()(plans))[1:], list(loader(plans[1:])))


def test_two_iterators_of_one_loader_do_not_mix(make_loader):
    plans = [plan(ALL, 64, EVERYTHING, first=8 * i) for i in range(3)]
    loader = make_loader()
    pairs = list(zip(loader(plans), loader(plans[::-1]), strict=True))
    assert equal([a for a, _ in pairs], [b for _, b in pairs][::-1])


def test_plans_are_taken_a_few_ahead_only(make_loader):
    taken = itertools.count()
    endless = (plan([0, 1], 32, first=next(taken)) for _ in itertools.count())
    batches = make_loader(workers=1)(endless)
    next(batches)
    batches.close()
    assert next(taken) < 10


def test_orientation_tag_does_not_turn_the_image(make_loader, data, tmp_path):
    row = ROW["large"]
    tagged = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show
    Image.open(io.BytesIO(data.files[row])).save(tagged, "jpeg", quality=95, exif=exif)
    files = [tagged.getvalue() if i == row else f for i, f in enumerate(data.files)]
    reader = write_dataset(tmp_path / "d", files, [rle.encode(mask) for mask in data.masks])
    for size in (1024, 256):
        (plain,) = make_loader()([plan([row], size)])
        (turned,) = load_with(make_loader, reader, plan([row], size))
        assert (plain.image - turned.image).abs().mean() < 2 / 255


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: file[: len(file) // 2].ljust(len(file), b"\0"), id="second half zeroed"),
        pytest.param(lambda file: bytes(len(file)), id="zeroed"),
        pytest.param(lambda file: b'{"error": "429 Too Many Requests"}', id="a web server's answer"),
        pytest.param(lambda file: b"", id="empty"),
        pytest.param(lambda file: file[:16] + file[-12:], id="beginning and end alone"),
    ],
)
@pytest.mark.parametrize("name", ["square", "deep"])
def test_damaged_file_is_named_with_its_shard(make_loader, data, tmp_path, damage, name):
    files = list(data.files)
    files[ROW[name]] = damage(files[ROW[name]])
    reader = write_dataset(tmp_path / "d", files, [rle.encode(mask) for mask in data.masks])
    with pytest.raises(
        UserError, match=rf"id-{name} in shards/train-000000.tar .*file (cannot be decoded|is incomplete)"
    ):
        load_with(make_loader, reader, plan([0, 2, 4, 3], 64))


def test_shard_that_ends_early_is_named(make_loader, data, tmp_path):
    reader = write_dataset(tmp_path / "d", data.files, [rle.encode(mask) for mask in data.masks])
    path = tmp_path / "d" / "shards" / "train-000000.tar"
    path.write_bytes(path.read_bytes()[: reader.table.offset[ROW["large"]] + 100])
    with pytest.raises(UserError, match=r"image id-large in shards/train-000000.tar .*the shard ends at byte"):
        load_with(make_loader, reader, plan([6, 0], 64))


def test_damaged_mask_is_named(make_loader, data, tmp_path):
    texts = [rle.encode(mask) for mask in data.masks]
    texts[ROW["square"]] = "5 10 99999999 3"
    reader = write_dataset(tmp_path / "d", data.files, texts)
    with pytest.raises(UserError, match=r"image id-square in .*: the mask has .*expected run lengths that fit"):
        load_with(make_loader, reader, plan([0], 64))
