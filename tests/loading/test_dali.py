"""The DALI loader on a GPU, and its pipelines from call to call."""

import gc
import weakref

import numpy as np
import pytest
import torch
from loading_data import ALL, EVERYTHING, ROW, load_with, plan, write_dataset

from pneumo.dataset.shard_reader import ShardReader
from pneumo.loading import device_cache
from pneumo.loading.device_cache import DeviceCache
from pneumo.loading.threaded import InFlight
from pneumo.masks import rle
from pneumo.runtime.errors import UserError

pytest.importorskip("nvidia.dali")

from pneumo.loading import dali as dali_module


def test_pipeline_is_kept_for_the_next_call_and_not_after_an_error(data):
    loader = data.dali()
    list(loader([plan([0, 1], 64)]))
    ((samples, first),) = loader._idle.items()
    list(loader([plan([3], 64)]))
    assert loader._idle == {samples: first}
    stopped = loader([plan([0, 1], 64)] * 9)
    next(stopped)
    stopped.close()
    assert loader._idle == {}


def test_one_pipeline_exists_at_a_time(data, monkeypatch):
    build, pipelines, others = dali_module.build_pipeline, [], []

    def alive():
        return sum(pipeline() is not None for pipeline in pipelines)

    def build_watched(*arguments):
        others.append(alive())
        pipeline = build(*arguments)
        pipelines.append(weakref.ref(pipeline))
        return pipeline

    monkeypatch.setattr(dali_module, "build_pipeline", build_watched)
    loader = data.dali()
    gc.disable()  # it would find circles by chance
    try:
        for rows in ([3], [ROW["square"], ROW["large"]]):  # a larger batch needs a larger pipeline
            list(loader([plan(rows, 64)]))
        stopped = loader([plan([0, 1, 2], 64)] * 9)
        next(stopped)
        stopped.close()
        assert (others, alive()) == ([0, 0, 0], 0)
    finally:
        gc.enable()


def test_a_pipeline_takes_few_of_many_threads(data, monkeypatch):
    threads = []
    build = dali_module.build_pipeline

    def record(source, shape, device_id, count):
        threads.append(count)
        return build(source, shape, device_id, count)

    monkeypatch.setattr(dali_module, "build_pipeline", record)
    for workers in (2, 64):
        list(data.dali(workers=workers)([plan([0], 64)]))
    assert threads == [2, 8]


def cached(data, *, max_bytes=2**27, workers=2, device="cpu"):
    loader = data.dali(workers, device)
    loader.device_cache = DeviceCache(loader.device, max_bytes)
    return loader


def equal(left, right):
    return all(torch.equal(a.image, b.image) and torch.equal(a.mask, b.mask) for a, b in zip(left, right, strict=True))


@pytest.fixture
def reads(data, monkeypatch):
    """Return the rows of the images that are read, in order."""
    rows, read = [], ShardReader.image
    monkeypatch.setattr(ShardReader, "image", lambda reader, row: rows.append(row) or read(reader, row))
    return rows


def test_batches_are_the_same_to_the_bit_from_the_cache(data, reads):
    plans = [plan(ALL, 96, EVERYTHING, first=8 * i) for i in range(2)] + [plan([6, 1], 96), plan([3], 96)]
    expected = list(data.dali()(plans))
    loader = cached(data)
    reads.clear()
    assert equal(expected, list(loader(plans)))
    assert sorted(set(reads)) == ALL
    reads.clear()
    assert equal(expected, list(loader(plans)))
    assert equal(expected[::-1], list(loader(plans[::-1])))
    assert reads == []


def test_a_batch_is_made_of_kept_and_of_decoded_images(data, reads):
    plans = [plan([2, 6, 0], 96, EVERYTHING), plan([2, 6], 96), plan([3, 6, 4, 2], 96, EVERYTHING), plan([2], 96)]
    expected = list(data.dali()(plans))
    loader = cached(data)
    list(loader([plan([6], 96), plan([2], 96)]))
    reads.clear()
    assert equal(expected, list(loader(plans)))
    assert sorted(reads) == [0, 3, 4]


def test_a_cache_that_is_too_small_changes_no_batch(data, reads, monkeypatch):
    monkeypatch.setattr(device_cache, "PIECE_BYTES", 4096)
    plans = [plan(ALL, 96, EVERYTHING, first=8 * i) for i in range(3)]
    loader = cached(data, max_bytes=40_000)
    expected = list(data.dali()(plans))
    for _ in range(2):
        assert equal(expected, list(loader(plans)))
    assert loader.device_cache.is_full
    assert 0 < len(loader.device_cache) < len(ALL)
    reads.clear()
    list(loader(plans))
    kept = {row for row, _ in loader.device_cache._images}
    assert set(reads) == set(ALL) - kept


def test_images_of_one_size_are_kept_at_a_time(data):
    loader = cached(data)
    for size, factor in ((256, 4), (128, 8), (256, 4)):
        list(loader([plan(ALL, size)]))
        assert len(loader.device_cache) == len(ALL)
        assert loader.device_cache.get(ROW["large"], factor) is not None


def test_closing_early_keeps_the_cache(data):
    plans = [plan(ALL, 64, EVERYTHING, first=8 * i) for i in range(4)]
    loader = cached(data)
    stopped = loader(plans)
    next(stopped)
    stopped.close()
    assert equal(list(data.dali()(plans)), list(loader(plans)))


def test_an_image_of_another_shape_than_the_table_has_is_damaged(data, tmp_path):
    files = list(data.files)
    files[ROW["square"]] = files[ROW["upright"]]
    reader = write_dataset(tmp_path / "d", files, [rle.encode(mask) for mask in data.masks])
    with pytest.raises(UserError, match=r"id-square in .*the jpg file has the shape \(200, 120\)"):
        load_with(data.dali, reader, plan([0], 64))


@pytest.mark.parametrize(
    ("decodable", "match"),
    [
        pytest.param(lambda row, device: row != 3 or device is None, r"id-odd in .*DALI decodes it on a CPU and not on"
                     r" the GPU \(RuntimeError: nvjpeg status 4\); .*set --loader opencv", id="nvJPEG refuses one"),
        pytest.param(lambda row, device: row != 3, r"id-odd in .*file cannot be decoded", id="one is damaged"),
        pytest.param(lambda row, device: device is None, "^nvjpeg status 4$", id="the GPU decodes nothing any more"),
        pytest.param(lambda row, device: True, "^nvjpeg status 4$", id="another error"),
    ],
)  # fmt: skip
def test_an_error_of_the_decoder_is_put_down_to_an_image_only_if_it_is_its_own(data, monkeypatch, decodable, match):
    rows = {len(file): row for row, file in enumerate(data.files)}
    monkeypatch.setattr(dali_module, "can_decode", lambda file, device: decodable(rows[len(file)], device))
    loader = data.dali()
    loader.device_id = 0
    batch = InFlight(plan([0, 3, 4], 64), torch.device("cpu"), with_image=False)
    with pytest.raises((UserError, RuntimeError), match=match):
        raise loader.decoding_error(batch, RuntimeError("nvjpeg status 4"))


def test_too_little_memory_is_not_put_down_to_an_image(data, monkeypatch):
    monkeypatch.setattr(dali_module, "can_decode", lambda *_: False)
    error = RuntimeError("Error in MIXED operator `nvidia.dali.fn.decoders.image`: CUDA allocation failed")
    batch = InFlight(plan([0, 3], 64), torch.device("cpu"), with_image=False)
    assert data.dali().decoding_error(batch, error) is error


@pytest.mark.gpu
@pytest.mark.parametrize("size", [96, 256])
def test_dali_on_the_gpu_agrees_with_opencv(data, size):
    """nvJPEG's inverse transform may round a level differently from libjpeg's; the masks agree to the bit."""
    plans = [plan(ALL, size, EVERYTHING, first=10 * i) for i in range(3)] + [plan([0, 4], size)]
    loader = data.dali(device="cuda")
    for _ in range(2):  # the second time with the pipeline that was kept
        for ours, theirs in zip(data.opencv()(plans), loader(plans), strict=True):
            assert theirs.image.is_cuda
            assert theirs.mask.is_cuda
            assert torch.equal(ours.mask, theirs.mask.cpu())
            difference = (ours.image - theirs.image.cpu()).abs()
            assert difference.mean() < 1 / 255
            assert difference.flatten(1).quantile(0.999, dim=1).max() < 5 / 255


@pytest.mark.gpu
def test_batches_are_the_same_to_the_bit_from_the_cache_on_the_gpu(data):
    plans = [plan(ALL, 96, EVERYTHING, first=8 * i) for i in range(3)]
    loader = cached(data, device="cuda", max_bytes=None)
    epochs = [list(loader(plans)) for _ in range(3)]
    assert len(loader.device_cache) == len(ALL)
    for again in epochs[1:]:
        assert equal(epochs[0], again)


@pytest.mark.gpu
def test_batch_is_not_overwritten_while_the_device_lags_behind(data):
    plans = [plan(ALL, 256, EVERYTHING, first=8 * i) for i in range(30)]
    expected = [batch.image.sum(dtype=torch.float64) for batch in data.opencv()(plans)]
    heavy = torch.rand(4096, 4096, device="cuda")
    sums = []
    for batch in data.dali(device="cuda")(plans):
        heavy = (heavy @ heavy).clamp(0, 1)  # keeps the device busy while the batch's last reference is dropped
        sums.append(batch.image.sum(dtype=torch.float64))
    for ours, theirs in zip(expected, sums, strict=True):
        assert float(theirs) == pytest.approx(float(ours), rel=5e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["square", "deep"])
def test_damaged_file_is_named_on_the_gpu(data, tmp_path, name):
    # Whole by its beginning and end, so that only decoding shows it.
    files = [file[:16] + file[-12:] if row == ROW[name] else file for row, file in enumerate(data.files)]
    reader = write_dataset(tmp_path / "d", files, [rle.encode(mask) for mask in data.masks])
    with pytest.raises(UserError, match=rf"id-{name} in shards/train-000000.tar .*file cannot be decoded"):
        load_with(lambda: data.dali(device="cuda"), reader, plan([0, 4, 3], 64))


@pytest.mark.gpu
def test_deep_images_keep_16_bits_on_the_gpu(data):
    row = ROW["deep"]
    (batch,) = data.dali(device="cuda")([plan([row], 256)])
    np.testing.assert_allclose(batch.image[0, 0].cpu(), data.pixels(row), rtol=0, atol=1e-6)
