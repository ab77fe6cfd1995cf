"""What is done before an epoch begins: its table is opened and the epoch planned, at 1, 10 and 100 times a size."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.scaling import growth
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import Work, time_in_turns
from pneumo.dataset import folds, paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SCHEMA, SampleTable
from pneumo.training.epoch import Epoch
from pneumo.training.recipes import best

FACTORS = (1, 10, 100)
"""Times ``--table-images`` that are measured."""
PEAK = """
from pathlib import Path
from pneumo.dataset.table import SampleTable
from pneumo.runtime.machine import peak_memory
{action}
print(peak_memory() / 2**20)
"""


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Open tables and plan epochs."""
    sizes = [factor * settings.table_images for factor in FACTORS]
    datasets = []
    for size in sizes:
        directory = source.directory / f"table-{size}"
        directory.mkdir()
        write(draw(size), directory)
        datasets.append(directory)
    largest = datasets[-1]
    tables = [SampleTable.read(dataset) for dataset in datasets]
    works: list[Work] = [
        *(partial(SampleTable.read, dataset) for dataset in datasets),
        *(partial(plan_epoch, table) for table in tables),
        partial(read_columns, paths.samples(largest)),
        partial(shuffle, tables[-1]),
    ]
    *timed, columns, shuffled = time_in_turns(works, settings.repeat)
    opened, planned = timed[: len(sizes)], timed[len(sizes) :]
    images = f"{sizes[-1]:,} images"
    return [
        per_item(
            "plan",
            f"open the table, {images}",
            "limit: read its columns",
            "s",
            ours=opened[-1],
            theirs=columns,
            scale=1,
        ),
        growth("plan", "open the table", "image", sizes, opened),
        _memory(largest, images),
        per_item(
            "plan",
            f"plan an epoch, {images}",
            "limit: shuffle the rows",
            "s",
            ours=planned[-1],
            theirs=shuffled,
            scale=1,
        ),
        growth("plan", "plan an epoch", "image", sizes, planned),
    ]


def _memory(dataset: Path, images: str) -> Comparison:
    """Compare the memory that an open table takes of a process with that of its values on disk, not compressed."""
    file = pq.read_metadata(paths.samples(dataset))
    values = sum(file.row_group(index).total_byte_size for index in range(file.num_row_groups)) / 2**20
    opened = _peak_mib(f"SampleTable.read(Path({str(dataset)!r}))") - _peak_mib("")
    return per_item(
        "plan",
        f"memory of opening the table, {images}",
        "limit: its values",
        "MiB",
        ours=[opened],
        theirs=[values],
        scale=1,
    )


def _peak_mib(action: str) -> float:
    """Return the most memory that a new process has had which does this after its imports."""
    words = [sys.executable, "-P", "-c", PEAK.format(action=action)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout)


def read_columns(path: Path) -> None:
    """Read every column, one after another in this thread."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for name in SCHEMA.names:
            file.read(columns=[name], use_threads=False)


def plan_epoch(table: SampleTable) -> None:
    """Plan every batch of an epoch in which each image occurs once."""
    recipe = best()
    stage = recipe.stages[-1]
    rows = table.select("train")
    epoch = Epoch(recipe=recipe, stage=stage, index=stage.epochs - 1, seed=0, table=table, rows=rows)
    count = sum(1 for _ in epoch.plans(range(epoch.steps), range(recipe.micro_batches)))
    assert count == epoch.steps * recipe.micro_batches


def shuffle(table: SampleTable) -> None:
    """Shuffle all rows."""
    np.random.default_rng(0).permutation(len(table))


def write(table: SampleTable, directory: Path) -> None:
    """Write the table and the dataset.json of a dataset without shards."""
    samples = len(table)
    table.write(directory)
    counts: dict[str, Any] = dict.fromkeys(
        ("quarantined", "left_out", "unlabeled", "merged_duplicates", "missing", "renamed", "test"), 0
    )
    Manifest(
        found=samples,
        samples=samples,
        train=samples,
        positive=int(table.positive.sum()),
        shards=len(np.unique(table.shard)),
        patients=samples // 2,
        num_folds=5,
        fold_seed=0,
        grouped_by="patients csv",
        id_source="uid",
        digest="",
        folds_digest=folds.digest(table.column("image_id"), table.fold),
        samples_digest=table.digest(),
        **counts,
    ).write(directory)


def draw(images: int) -> SampleTable:
    """Return a table like that of the competition's images: two of each patient, 22 % positive."""
    rng = np.random.default_rng(0)
    ids = [f"2.25.3100001.3.1.4.1000000.{n}.1000000{n % 999_983:06d}.{n % 899_999 + 100_000}" for n in range(images)]
    digests = np.frombuffer(rng.bytes(3 * 32 * images).hex().encode(), "S64").reshape(3, images)
    positive = rng.random(images) < 0.22
    columns: dict[str, Any] = {
        "image_id": ids,
        "wds_key": [image_id.replace(".", "-") for image_id in ids],
        "split": ["train"] * images,
        "fold": rng.integers(0, 5, images),
        "patient": np.arange(images) // 2,
        "rows": np.full(images, 1024),
        "columns": np.full(images, 1024),
        "view": np.where(rng.random(images) < 0.6, "PA", "AP"),
        "sex": np.where(rng.random(images) < 0.55, "M", "F"),
        "transfer_syntax": ["1.2.840.10008.1.2.4.50"] * images,
        "positive": positive,
        "mask_area": np.where(positive, 8630, 0),
        "shard": [f"train-{n // 1000:06d}.tar" for n in range(images)],
        "image_format": ["jpg"] * images,
        "offset": 512 + np.arange(images) % 1000 * 140_000,
        "bytes": rng.integers(100_000, 180_000, images),
        **{
            name: values.astype("U64")
            for name, values in zip(("sha256", "rle_sha256", "json_sha256"), digests, strict=True)
        },
    }
    arrays = [
        pa.array(
            columns.get(field.name, [""] * images if pa.types.is_string(field.type) else np.zeros(images)), field.type
        )
        for field in SCHEMA
    ]
    return SampleTable.from_arrow(pa.Table.from_arrays(arrays, schema=SCHEMA))
