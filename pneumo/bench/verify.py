"""Checking a dataset, and its limits: reading the same bytes, and reading and hashing them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pneumo.bench.comparison import Comparison, per_second
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import time_in_turns
from pneumo.dataset import paths, verify
from pneumo.dataset.table import SampleTable
from pneumo.runtime.files import sha256

CHUNK = 1 << 20


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Check a dataset of all images, in as many threads as the limits have."""
    dataset, table = source.dataset, SampleTable.read(source.dataset)
    files = sorted(paths.shards(dataset).iterdir())
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    limits = [partial(each, work, files, settings.workers) for work in (read, sha256)]
    ours, *theirs = time_in_turns([partial(check, dataset, table, settings.workers), *limits], settings.repeat)
    threads = f"{settings.workers} thread{'s' * (settings.workers > 1)}"
    names = ("limit: read the files", "limit: read and hash them")
    return [
        per_second("verify", f"check every bit, {threads}", name, "MB/s", ours=ours, theirs=limit, items=megabytes)
        for name, limit in zip(names, theirs, strict=True)
    ]


def check(dataset: Path, table: SampleTable, workers: int) -> None:
    """Check a whole dataset."""
    assert not any(issues for _, issues in verify.check(dataset, table, workers))


def each(work: Callable[[Path], object], files: list[Path], workers: int) -> None:
    """Apply a function to each file, in several threads."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, files))


def read(path: Path) -> None:
    """Read a file."""
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass
