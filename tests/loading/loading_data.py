"""A dataset of a few hand-made images in the product's own shard and table formats."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pneumo.dataset import paths
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dataset.tar import TarWriter
from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.intensity import Intensity
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.loading.contract import Batch, BatchPlan, Loader
from pneumo.loading.opencv import OpenCvLoader


@dataclass(frozen=True)
class Case:
    """One image of the dataset."""

    name: str
    rows: int
    columns: int
    image_format: str = "jpg"
    positive: bool = True
    split: str = "train"


CASES = [
    Case("square", 256, 256),
    Case("empty", 256, 256, positive=False),
    Case("upright", 200, 120),
    Case("odd", 301, 203),
    Case("deep", 256, 256, "png"),
    Case("deep and wide", 91, 183, "png"),
    Case("large", 1024, 1024),
    Case("unlabeled", 256, 256, positive=False, split="test"),
]
ROW = {case.name: row for row, case in enumerate(CASES)}
ALL = list(range(len(CASES)))
EVERYTHING = Augmentation(affine=Affine(probability=1, rotate_deg=20), intensity=Intensity(probability=1))


@dataclass(frozen=True)
class Data:
    """The dataset, and what was put into it."""

    reader: ShardReader
    files: list[bytes]
    masks: list[np.ndarray]

    @property
    def table(self) -> SampleTable:
        return self.reader.table

    def pixels(self, row: int) -> np.ndarray:
        """Decode an image independently of the loaders, (rows, columns) float64 in [0, 1]."""
        decoded = np.asarray(Image.open(io.BytesIO(self.files[row])))
        return decoded / (65535 if CASES[row].image_format == "png" else 255)

    def opencv(self, workers: int = 2) -> Loader:
        return OpenCvLoader(self.reader, torch.device("cpu"), workers)

    def dali(self, workers: int = 2, device: str = "cpu") -> Loader:
        pytest.importorskip("nvidia.dali")
        from pneumo.loading.dali import DaliLoader

        return DaliLoader(self.reader, torch.device(device), workers)


def picture(rows: int, columns: int, seed: int) -> np.ndarray:
    """Return a picture with soft structures and a little grain, (rows, columns) in [0, 1]."""
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(rng.normal(size=(rows, columns)), (0, 0), min(rows, columns) / 25)
    soft = (soft - soft.min()) / np.ptp(soft)
    return np.clip(0.9 * soft + 0.1 * rng.random((rows, columns)), 0, 1)


def encode(case: Case, image: np.ndarray) -> bytes:
    if case.image_format == "png":
        return cv2.imencode(".png", np.round(image * 65535).astype(np.uint16))[1].tobytes()
    return cv2.imencode(".jpg", np.round(image * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def write_dataset(root: Path, files: list[bytes], texts: list[str]) -> ShardReader:
    """Write one shard with the files and masks of the cases."""
    paths.shards(root).mkdir(parents=True)
    rows = []
    with paths.tar(root, "train-000000").open("wb") as file:
        writer = TarWriter(file)
        for case, data, text in zip(CASES, files, texts, strict=True):
            key = case.name.replace(" ", "-")
            offset, rle_offset, _ = writer.add(
                key, [(case.image_format, data), ("rle", text.encode()), ("json", b"{}")]
            )
            labeled = case.split == "train"
            rows.append(
                dict.fromkeys(["view", "sex", "transfer_syntax", "render_notes"], "")
                | dict.fromkeys(["row_spacing_mm", "column_spacing_mm"], float("nan"))
                | dict.fromkeys(["patient", "age_years"], -1)
                | {"image_id": f"id-{key}", "wds_key": key, "split": case.split, "fold": 0 if labeled else -1}
                | {
                    "rows": case.rows,
                    "columns": case.columns,
                    "image_format": case.image_format,
                    "was_monochrome1": False,
                }
                | {"positive": case.positive, "mask_area": int(case.positive), "shard": "train-000000.tar"}
                | {"offset": offset, "bytes": len(data)}
                | {"rle_offset": rle_offset if labeled else -1, "rle_bytes": len(text) if labeled else 0}
                | {"json_bytes": 2, "json_sha256": hashlib.sha256(b"{}").hexdigest()}
                | {"sha256": hashlib.sha256(data).hexdigest(), "rle_sha256": hashlib.sha256(text.encode()).hexdigest()}
            )
        writer.close()
    return ShardReader(root, SampleTable.from_rows(rows))


def plan(rows: list[int], size: int, augmentation=None, *, first: int = 0, epoch: int = 0, seed: int = 5) -> BatchPlan:
    """Return a plan whose positions count from ``first``."""
    return BatchPlan(
        rows=np.array(rows, np.int64),
        positions=np.arange(first, first + len(rows)),
        epoch=epoch,
        size=size,
        seed=seed,
        augmentation=augmentation,
    )


def load_with(make_loader, reader: ShardReader, asked) -> list[Batch]:
    """Load another dataset's batch, after one that precedes it."""
    loader = make_loader()
    loader.reader = reader
    return list(loader([plan([1], 64), asked]))[1:]


def map_point(matrix: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """Map (x, y) by a (2, 3) matrix."""
    return tuple((matrix @ (x, y, 1)).tolist())
