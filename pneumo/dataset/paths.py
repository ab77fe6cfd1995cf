"""Paths within a dataset; no other module spells these names.

::

    DATASET/
      dataset.json              format version, counts, folds, digests; written last: a dataset without it is unfinished
      samples.parquet           one row per image, see pneumo.dataset.table
      quarantine.csv            every file that could not become a sample, with the reason (job/QUARANTINE.md)
      left_out.csv              images that are no frontal chest X-rays, and masks among them, with what says so
      unmatched.csv             training files without a row in the masks CSV, and rows without a file
                                all three are written even when too many files are quarantined for a dataset
      shards/train-000000.tar   WebDataset members KEY.jpg or KEY.png, KEY.rle (training only), KEY.json
      shards/train-000000.idx   the same members in the index format of DALI's own reader
      shards/test-000000.tar    ...
      shards/unlabeled-000000.tar   only with --keep-unlabeled
      logs/                     a log of each start of job/shard.py, see pneumo.runtime.log_file
      .build/                   only while building: plan.json, one JSON per finished shard, the lock of the merge, and
                                headers/, those that tasks share

A shard of which every file was quarantined has no tar, so the numbers may have a gap.
"""

import re
from pathlib import Path
from typing import Literal, get_args

Split = Literal["train", "test", "unlabeled"]
"""Labeled images, images to predict, and images of the training directory that have no label."""
SPLITS: tuple[Split, ...] = get_args(Split)
"""In the order of the table: that of the others does not depend on whether unlabeled images are kept."""

FORMAT_VERSION = 4
"""Raised when a reader of the old format would misread the new one, or the new reader misses something in the old.

2: SHA-256 of every member, of the table, and of dataset.json itself.
3: other names of columns and fields (wds_key, was_monochrome1, render_notes, mask_area, image_format; num_folds,
unlabeled, merged_duplicates; ``phase`` in quarantine.csv).
4: what the ids are, and the times of the input files in the digest of the plan; modality, body_part,
presentation_intent, low_level, high_level and mask_note in the table, left_out in dataset.json.
"""

MANIFEST = "dataset.json"
RUN_FILE, MODEL_FILE = "recipe.json", "model.json"
"""What makes a directory a run or an exported model: neither is a dataset, though often given as one."""
SAMPLES = "samples.parquet"
QUARANTINE = "quarantine.csv"
LEFT_OUT = "left_out.csv"
UNMATCHED = "unmatched.csv"
SHARDS = "shards"
BUILD = ".build"
WRITTEN = (MANIFEST, SAMPLES, QUARANTINE, LEFT_OUT, UNMATCHED, SHARDS, BUILD)
"""What a build writes into the dataset's directory."""
LISTS = (QUARANTINE, LEFT_OUT, UNMATCHED)
"""What became no sample, and why; a build that finds nothing to build leaves only these."""
PREDICTION_LISTS = (QUARANTINE, LEFT_OUT)
"""The lists that job/predict.py publishes with its results."""


SHARD_NAME = re.compile(r"(?:train|test|unlabeled)-[0-9]{6,9}\.tar")
"""What the table may name: no slash or leading dot, which would lead out of the shards' directory."""


def manifest(dataset: Path) -> Path:
    """Return the path of dataset.json, whose presence means that the dataset is complete."""
    return dataset / MANIFEST


def samples(dataset: Path) -> Path:
    """Return the path of the table of samples."""
    return dataset / SAMPLES


def shards(dataset: Path) -> Path:
    """Return the directory of the shards."""
    return dataset / SHARDS


def tar(dataset: Path, shard: str) -> Path:
    """Return the path of the tar of a shard such as ``train-000000``."""
    return shards(dataset) / f"{shard}.tar"


def index(dataset: Path, shard: str) -> Path:
    """Return the path of a shard's DALI index."""
    return shards(dataset) / f"{shard}.idx"


def build(dataset: Path) -> Path:
    """Return the directory that exists only while the dataset is being built."""
    return dataset / BUILD


def plan(dataset: Path) -> Path:
    """Return the path of the record of the input that an unfinished dataset is built from."""
    return build(dataset) / "plan.json"


def lock(dataset: Path) -> Path:
    """Return the path of the lock that the merging process holds."""
    return build(dataset) / "merge.lock"


def shard_record(dataset: Path, shard: str) -> Path:
    """Return the path of the record of a finished shard; published after its tar and index."""
    return build(dataset) / f"{shard}.json"


def shared_headers(dataset: Path) -> Path:
    """Return the directory of the headers that the tasks of a build have read."""
    return build(dataset) / "headers"


def shard_name(split: str, number: int) -> str:
    """Return the name of a shard; no dots, since index tools cut names at the first one."""
    return f"{split}-{number:06d}"
