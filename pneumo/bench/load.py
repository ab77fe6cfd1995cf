"""The loaders and the 1st place's, which decodes PNGs of 1024 x 1024, augments at full size and resizes.

All are limited to one core, so that none is faster by its number of threads, and keep freed memory, as a training on
a CPU does. A tenth of the images shows whether an epoch's time grows with their number. Where there is a GPU, the DALI
loader is also timed on it, see ``gpu_loading``.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from pneumo.bench.comparison import Comparison, per_second
from pneumo.bench.scaling import growth
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import Work, time_in_turns
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dicom import image_codec
from pneumo.loading.augmentation.distortion import check_albumentations, import_albumentations
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.loading.build import build_loader, has_dali
from pneumo.loading.cache_layout import CacheLayout
from pneumo.loading.contract import BatchPlan, Loader
from pneumo.loading.decoded_cache import DecodedCache, MemoryStorage, storage_bytes
from pneumo.loading.geometry import downsample_factor
from pneumo.loading.images import read_reduced
from pneumo.loading.opencv import OpenCvLoader
from pneumo.masks import rle
from pneumo.runtime.freed_memory import give_back_freed_memory, keep_freed_memory

BATCH = 8
GPU_BATCH = 16
CPU = torch.device("cpu")


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Load every image once with each loader."""
    reader = source.reader
    plans = plan_epoch(len(reader.table), settings.size)
    winner = Winner(reader, source.directory / "winner", settings.size)
    keep_freed_memory()
    with one_core():
        compared = _on_one_core(reader, plans, winner, settings)
    give_back_freed_memory()
    on_gpu = _on_gpu(reader, settings, winner.load_all) if torch.cuda.is_available() and has_dali() else []
    return compared + on_gpu


def _on_one_core(reader: ShardReader, plans: list[BatchPlan], winner: "Winner", settings: Settings) -> list[Comparison]:
    images, where = len(reader.table), f"1 core, {settings.size} px"
    layout = CacheLayout.of(reader.table, np.arange(images), settings.size)
    filled = _with_cache(reader, layout)
    drain(filled, plans)
    sizes = [max(images // 10, 1), images]

    def first_epoch(plans: list[BatchPlan]) -> None:
        # As a run begins: nothing is known of any file, and the memory of the cache is new.
        drain(_with_cache(_anew(reader), layout), plans)

    def decode() -> None:
        for row in range(images):
            read_reduced(reader, row, downsample_factor(*reader.table.shape(row), settings.size))

    works: dict[str, Work] = {
        "OpenCV loader, 1st epoch": partial(first_epoch, plans),
        "OpenCV loader, 1st epoch, nothing kept": lambda: drain(build_loader("opencv", _anew(reader), CPU, 1), plans),
        "OpenCV loader, later epochs": partial(drain, filled, plans),
    }
    if has_dali():
        works["DALI loader on the CPU"] = partial(drain, build_loader("dali", reader, CPU, 1), plans)
    begin = partial(first_epoch, plan_epoch(sizes[0], settings.size))
    *ours, begun, decoded, theirs = time_in_turns([*works.values(), begin, decode, winner.load_all], settings.repeat)
    rows = [(what, "winner's loader", seconds, theirs) for what, seconds in zip(works, ours, strict=True)]
    rows.insert(1, ("OpenCV loader, 1st epoch", "limit: decode alone", ours[0], decoded))
    rates = [
        per_second("load", f"{what}, {where}", f"{baseline}, 1 core", "img/s", ours=seconds, theirs=other, items=images)
        for what, baseline, seconds, other in rows
    ]
    return [*rates, growth("load", f"OpenCV loader, 1st epoch, {where}", "image", sizes, [begun, ours[0]])]


def _anew(reader: ShardReader) -> ShardReader:
    """Return a reader that has not compared any file with its digest yet."""
    return ShardReader(reader.dataset, reader.table)


def _with_cache(reader: ShardReader, layout: CacheLayout) -> Loader:
    loader = OpenCvLoader(reader, CPU, 1)
    loader.cache = DecodedCache(layout, MemoryStorage(storage_bytes(layout)))
    return loader


def _on_gpu(reader: ShardReader, settings: Settings, winner: Callable[[], object]) -> list[Comparison]:
    from pneumo.bench.gpu_loading import GpuLoading
    from pneumo.loading.device_cache import DeviceCache

    def theirs() -> None:
        with one_core():
            winner()

    device = torch.device("cuda")
    loading = GpuLoading(
        reader=reader,
        plans=plan_epoch(len(reader.table), settings.size, GPU_BATCH),
        device=device,
        cache=DeviceCache(device),
        workers=settings.workers,
        repeat=settings.repeat,
    )
    return loading.measure(theirs)


def plan_epoch(samples: int, size: int, batch: int = BATCH) -> list[BatchPlan]:
    """Plan every sample once, with the default augmentation."""
    return [
        BatchPlan(
            rows=np.arange(first, min(first + batch, samples)),
            positions=np.arange(first, min(first + batch, samples)),
            epoch=0,
            size=size,
            seed=0,
            augmentation=Augmentation(),
        )
        for first in range(0, samples, batch)
    ]


def drain(loader: Loader, plans: list[BatchPlan]) -> None:
    """Load every batch."""
    for batch in loader(plans):
        assert batch.image.dtype == torch.float32


class Winner:
    """The 1st place's loader: decode the image's and the mask's PNG, augment at full size, resize.

    Args:
        reader: Reads the images and masks that the PNGs are made of.
        directory: Where the PNGs are written.
        size: Height and width of the result in pixels.
    """

    def __init__(self, reader: ShardReader, directory: Path, size: int) -> None:
        self.directory, self.samples = directory, len(reader.table)
        self.augment = winners_augmentation(size)
        directory.mkdir(parents=True)
        for row in range(self.samples):
            image = image_codec.decode(reader.image(row))
            mask = rle.decode(reader.rle(row), *image.shape)
            # Its PNGs have 8 bits.
            narrow = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
            cv2.imwrite(str(directory / f"{row}.png"), narrow)
            cv2.imwrite(str(directory / f"{row}-mask.png"), mask * 255)

    def load_all(self) -> None:
        """Load every batch."""
        cv2.setNumThreads(1)
        for first in range(0, self.samples, BATCH):
            samples = [self._load(row) for row in range(first, min(first + BATCH, self.samples))]
            images, masks = (torch.stack(parts) for parts in zip(*samples, strict=True))
            assert len(images) == len(masks)

    def _load(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = cv2.imread(str(self.directory / f"{row}.png"), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(self.directory / f"{row}-mask.png"), cv2.IMREAD_GRAYSCALE)
        done = self.augment(image=image, mask=mask)
        return (
            torch.from_numpy(done["image"].astype(np.float32) / 255)[None],
            torch.from_numpy((done["mask"] > 0).astype(np.float32))[None],
        )


def winners_augmentation(size: int) -> Any:
    """Return flip, contrast, shift-scale-rotate and resize, in the winner's order and with its ranges."""
    check_albumentations()
    albumentations = import_albumentations()
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.OneOf(
                [
                    albumentations.RandomBrightnessContrast(0, 0.2, p=1),
                    albumentations.RandomGamma((80, 120), p=1),
                    albumentations.RandomBrightnessContrast(0.2, 0, p=1),
                ],
                p=0.3,
            ),
            albumentations.Affine(translate_percent=(-0.0625, 0.0625), scale=(0.9, 1.1), rotate=(-45, 45), p=0.5),
            albumentations.Resize(size, size),
        ],
        seed=0,
    )


@contextmanager
def one_core() -> Iterator[None]:
    """Limit this thread, and those that it starts, to one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
