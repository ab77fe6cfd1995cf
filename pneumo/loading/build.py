"""The choice of a loader."""

from importlib.util import find_spec
from typing import Literal

import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.loading.kind import LoaderKind
from pneumo.loading.threaded import ThreadedLoader
from pneumo.runtime.errors import UserError

InstalledLoader = Literal["dali", "opencv"]


def build_loader(
    kind: LoaderKind,
    reader: ShardReader,
    device: torch.device,
    workers: int,
    *,
    augmentation: Augmentation | None = None,
    keep_decoded: bool = False,
) -> ThreadedLoader:
    """Make a loader.

    Args:
        kind: As for ``resolve_loader``.
        reader: Reads the samples' files; plans refer to its table.
        device: Where batches go.
        workers: Threads that decode and warp.
        augmentation: The augmentation of the plans, as far as the choice depends on it.
        keep_decoded: Whether samples will be asked for again, so that DALI on a GPU keeps its decoded images there.

    Raises:
        UserError: When the chosen loader is not installed or cannot do the augmentation, and when AlbumentationsX
            takes the place of albumentations.
    """
    assert workers >= 1
    if resolve_loader(kind, device, augmentation) == "dali":
        from pneumo.loading.dali import DaliLoader
        from pneumo.loading.device_cache import DeviceCache

        keeps = keep_decoded and device.type == "cuda"
        return DaliLoader(reader, device, workers, DeviceCache(device) if keeps else None)
    from pneumo.loading.opencv import OpenCvLoader

    return OpenCvLoader(reader, device, workers)


def resolve_loader(kind: LoaderKind, device: torch.device, augmentation: Augmentation | None = None) -> InstalledLoader:
    """Return the loader to use.

    Args:
        kind: ``dali``, ``opencv``, or ``auto`` for DALI on a CUDA device where it is installed and can do the
            augmentation, and OpenCV otherwise: on a CPU it is several times faster.
        device: Where batches go.
        augmentation: The augmentation of the plans, as far as the choice depends on it.

    Raises:
        UserError: When the chosen loader is not installed or cannot do the augmentation, and when AlbumentationsX
            takes the place of albumentations.
    """
    active = [] if augmentation is None else list(augmentation.active())
    opencv_only = [name for name, entry in active if entry.opencv_only]
    if kind == "dali" and opencv_only:
        names = ", ".join(opencv_only)
        raise UserError(
            f"loader dali with augmentation {names}",
            f"probability 0 of {names}, or the loader opencv, the only one that has it",
            f"set --loader opencv or --augmentation.{opencv_only[0]}.probability 0",
        )
    for _, entry in active:
        entry.check_libraries()
    if kind == "auto":
        return "dali" if device.type == "cuda" and has_dali() and not opencv_only else "opencv"
    if kind == "dali" and not has_dali():
        raise UserError(
            "loader dali, and DALI is not installed",
            "nvidia-dali-cuda130 or nvidia-dali-cuda120, which exist for Linux",
            "install the extra cuda13 or cuda12 of this package, or set --loader opencv: in training in a new --run, if"
            " this one was started with DALI",
        )
    return kind


def has_dali() -> bool:
    """Return whether DALI is installed, without importing it."""
    return find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None
