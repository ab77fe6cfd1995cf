"""The benchmark of the loader on a GPU, run on the CPU."""

import math
from pathlib import Path

import pytest
import torch

pytest.importorskip("nvidia.dali")

from pneumo.bench import gpu_loading
from pneumo.bench.load import plan_epoch
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.loading.device_cache import DeviceCache


def test_epochs_and_steps_are_compared(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_loading, "STEPS", 2)
    table = SampleTable.read(dataset)
    cache, before = DeviceCache(torch.device("cpu"), max_bytes=2**27), []
    loading = gpu_loading.GpuLoading(
        reader=ShardReader(dataset, table),
        plans=plan_epoch(5, 32, 2),
        device=torch.device("cpu"),
        cache=cache,
        workers=1,
        repeat=1,
        encoder="mobilenet_v2",
    )
    first, later, step = loading.measure(lambda: before.append(len(cache)))
    assert before == [5, 5]  # the epochs before it have filled the cache
    assert first.what.startswith("first epoch, DALI loader")
    assert later.what.startswith("from the cache, DALI loader")
    assert step.what == "step of unet-mobilenet_v2 with data from the cache, 32 px, batch 2"
    for comparison in (first, later, step):
        assert math.isfinite(comparison.ratio)
        assert comparison.ratio > 0
