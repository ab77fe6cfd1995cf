"""Building shards, the usual conversion of this data, and copying the files.

The usual conversion decodes each DICOM with pydicom and writes a PNG with OpenCV's defaults, as the winners' scripts
do. The limit reads each file and appends its bytes to one file that is flushed to disk, as a shard is.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import pydicom

from pneumo.bench import shard_command
from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import quiet, time_in_turns
from pneumo.dataset import scan, shard_writer, shared_headers
from pneumo.dataset.build import SCAN_CHUNK, build, make_plan
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.plan import BuildPlan
from pneumo.dataset.shared_headers import SharedHeaders
from pneumo.dataset.workers import Pool, worker_context
from pneumo.runtime.files import publish


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Time one image in one process, and the whole build in several; then the command."""
    out = source.directory / "shard"
    inputs = source.inputs
    options = BuildOptions()
    with quiet(), Pool(options.workers, options.limits) as pool:
        plan = make_plan(inputs, out, options, pool)
    return [
        *_in_one_process(plan, out, settings),
        *_from_the_disk(plan, out, settings),
        *_whole_build(plan, inputs, out, settings),
        *headers_of_tasks(inputs, out, settings),
        *shard_command.measure(settings, source),
    ]


def _in_one_process(plan: BuildPlan, out: Path, settings: Settings) -> list[Comparison]:
    paths = paths_of(plan)
    works = [
        lambda: write_shards(plan, out / "dataset"),
        lambda: convert_all(paths, out / "png"),
        lambda: copy_all(paths, out / "bytes"),
    ]
    ours, converter, limit = time_in_turns(works, settings.repeat)
    what, unit, scale = f"write shards, 1 process, {len(paths)} images", "ms/image", 1000 / len(paths)
    return [
        per_item("shard", what, "pydicom + PNG", unit, ours=ours, theirs=converter, scale=scale),
        per_item("shard", what, "limit: copy bytes", unit, ours=ours, theirs=limit, scale=scale),
    ]


def _from_the_disk(plan: BuildPlan, out: Path, settings: Settings) -> list[Comparison]:
    """Time writing the shards when the system has none of the files in memory, and copying their bytes."""
    paths = paths_of(plan)
    works = [lambda: write_shards(plan, out / "dataset"), lambda: copy_all(paths, out / "bytes")]
    on_disk = time_in_turns(works, settings.repeat, prepare=partial(forget, paths))
    in_memory = time_in_turns(works, settings.repeat, prepare=partial(remember, paths))
    scale = 1000 / len(paths)
    names = (f"write shards, 1 process, {len(paths)} images, files not in memory", "copy bytes, files not in memory")
    return [
        per_item("shard", name, "limit: the same, in memory", "ms/image", ours=ours, theirs=theirs, scale=scale)
        for name, ours, theirs in zip(names, on_disk, in_memory, strict=True)
    ]


def _whole_build(plan: BuildPlan, inputs: BuildInputs, out: Path, settings: Settings) -> list[Comparison]:
    """Time everything that job/shard.py does: headers, plan, shards, folds, table."""
    paths, dataset = paths_of(plan), out / "whole"
    works = [
        lambda: build(inputs, dataset, BuildOptions(num_folds=2, workers=settings.workers)),
        lambda: convert_in_parallel(paths, out / "png", settings.workers),
    ]
    ours, converter = time_in_turns(works, settings.repeat, prepare=partial(shutil.rmtree, dataset, ignore_errors=True))
    what = f"whole build, {settings.workers} processes, {len(paths)} images"
    baseline = f"pydicom + PNG, {settings.workers} processes"
    return [per_item("shard", what, baseline, "ms/image", ours=ours, theirs=converter, scale=1000 / len(paths))]


def headers_of_tasks(inputs: BuildInputs, out: Path, settings: Settings) -> list[Comparison]:
    """Time taking the headers that another task has read, and reading them."""
    sources = scan.find(inputs.dicom, inputs.test_dicom, labeled=True, exclude=[])
    key = shared_headers.make_key(shared_headers.choose_key_files(sources))
    assert key is not None, "they are DICOM files"
    shared = SharedHeaders.of(out / "tasks", key)
    assert shared is not None
    # The first of our runs, which is not timed, is the other task.
    works = [lambda: _scan_all(shared.scan, sources), lambda: _scan_all(scan.scan_files, sources)]
    ours, reading = time_in_turns(works, settings.repeat)
    what = f"headers that another task has read, 1 process, {len(sources)} files"
    return [per_item("shard", what, "reading them", "us/file", ours=ours, theirs=reading, scale=1e6 / len(sources))]


def _scan_all(scan_some: Callable[[Sequence[scan.Source]], object], sources: Sequence[scan.Source]) -> None:
    for first in range(0, len(sources), SCAN_CHUNK):
        scan_some(sources[first : first + SCAN_CHUNK])


def paths_of(plan: BuildPlan) -> list[Path]:
    """List the files that become samples; members of zip archives, which have no path, are left out."""
    locations = (sample.source.path for shard in plan.shards for sample in shard.samples)
    return [location for location in locations if isinstance(location, Path)]


def write_shards(plan: BuildPlan, dataset: Path) -> None:
    """Write every shard of a plan in this process."""
    for shard in plan.shards:
        shard_writer.write(dataset, BuildOptions().conditions, {}, shard)


def convert_all(paths: list[Path], directory: Path) -> None:
    """Write a PNG of every DICOM."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in paths:
        convert(directory, path)


def convert_in_parallel(paths: list[Path], directory: Path, workers: int) -> None:
    """Write a PNG of every DICOM in several processes."""
    directory.mkdir(parents=True, exist_ok=True)
    # Started like the build's own workers, so that starting them takes equally long.
    with worker_context() as context, ProcessPoolExecutor(workers, context) as pool:
        for _ in pool.map(partial(convert, directory), paths, chunksize=8):
            pass


def convert(directory: Path, path: Path) -> None:
    """Write a DICOM's pixels as a PNG of the same name."""
    pixels = pydicom.dcmread(path).pixel_array
    written = cv2.imwrite(str(directory / f"{path.stem}.png"), pixels)
    assert written, path


def forget(paths: list[Path]) -> None:
    """Make the system forget files, which are then read from their disk; some file systems keep them all the same."""
    os.sync()  # what is not written yet cannot be forgotten
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remember(paths: list[Path]) -> None:
    """Read files, which are then in the system's memory."""
    for path in paths:
        path.read_bytes()


def copy_all(paths: list[Path], target: Path) -> None:
    """Read every file and append its bytes to one."""
    with publish(target) as file:
        for path in paths:
            file.write(path.read_bytes())
