"""Checking a dataset against its limits: reading the same bytes, and reading and hashing them."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pneumo.bench.race import Measure, per_second, quiet, race
from pneumo.bench.source import Settings, Source
from pneumo.dataset import paths, verify
from pneumo.dataset.build import BuildOptions, build
from pneumo.dataset.table import SampleTable

CHUNK = 1 << 20


def measure(settings: Settings, source: Source) -> list[Measure]:
    """Check a dataset of all images, in as many threads as the limits have."""
    dataset = source.folder / "verify"
    with quiet():
        build(source.inputs, dataset, BuildOptions(workers=settings.workers))
    table = SampleTable.read(dataset)
    files = sorted(paths.shards(dataset).iterdir())
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    limits = [partial(each, work, files, settings.workers) for work in (read, digest)]
    ours, *theirs = race([partial(check, dataset, table, settings.workers), *limits], settings.repeat)
    threads = f"{settings.workers} thread{'s' * (settings.workers > 1)}"
    names = ("limit: read the files", "limit: read and hash them")
    return [
        per_second("verify", f"check every bit, {threads}", name, "MB/s", ours=ours, theirs=limit, items=megabytes)
        for name, limit in zip(names, theirs, strict=True)
    ]


def check(dataset: Path, table: SampleTable, workers: int) -> None:
    """Check a whole dataset."""
    assert not any(faults for _, faults in verify.check(dataset, table, workers))


def each(work: Callable[[Path], object], files: list[Path], workers: int) -> None:
    """Do something with each file, several at a time."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, files))


def read(path: Path) -> None:
    """Read a file and forget it."""
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
