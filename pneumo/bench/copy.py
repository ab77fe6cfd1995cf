"""Copying a dataset with ``--cache-dir``, and its limits; and the second start, which finds a complete copy."""

import os
import shutil
from functools import partial
from pathlib import Path

from pneumo.bench.comparison import Comparison, per_item, per_second
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import Work, time_in_turns
from pneumo.bench.verify import check
from pneumo.dataset import paths
from pneumo.dataset.local_copy import LocalCopy
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.origin import Origin
from pneumo.dataset.table import SampleTable


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Copy a dataset of all images from a directory to another one of the same disk."""
    dataset = source.dataset
    megabytes = sum(path.stat().st_size for path in paths.shards(dataset).iterdir()) / 1e6
    target = source.directory / "copies"
    works: list[Work] = [
        partial(_copy, dataset, target),
        partial(_copy_and_flush, dataset, target),
        partial(_copy_and_check, dataset, target, settings.workers),
    ]
    ours, *theirs = time_in_turns(works, settings.repeat, prepare=partial(shutil.rmtree, target, ignore_errors=True))
    names = ("limit: copy the files and flush them", "the same, then job/verify.py's check")
    copied = [
        per_second("copy", "copy, check, flush", name, "MB/s", ours=ours, theirs=seconds, items=megabytes)
        for name, seconds in zip(names, theirs, strict=True)
    ]
    copy = _copy(dataset, target)
    again, checked = time_in_turns(
        [partial(_find, copy), partial(_check, copy.path, settings.workers)], settings.repeat
    )
    name = "check every bit of the copy"
    return [*copied, per_item("copy", "second start", name, "ms", ours=again, theirs=checked, scale=1e3)]


def _copy(dataset: Path, target: Path) -> LocalCopy:
    copy = LocalCopy(target, Manifest.read(dataset))
    copy.ensure(Origin(dataset), lambda activity: None)
    return copy


def _find(copy: LocalCopy) -> None:
    assert copy.is_complete


def _copy_and_flush(dataset: Path, target: Path) -> None:
    shutil.copytree(dataset, target)
    for path in target.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def _copy_and_check(dataset: Path, target: Path, workers: int) -> None:
    _copy_and_flush(dataset, target)
    _check(target, workers)


def _check(dataset: Path, workers: int) -> None:
    check(dataset, SampleTable.read(dataset), workers)
