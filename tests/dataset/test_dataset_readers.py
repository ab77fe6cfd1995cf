"""The shards through other people's readers: DALI's own and the webdataset package's."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumo.dataset import paths
from pneumo.dataset.build import build
from pneumo.dataset.options import BuildOptions
from pneumo.dataset.table import SampleTable
from pneumo.masks import rle


@pytest.fixture(scope="module")
def dataset(tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("readers") / "dataset"
    build(tree.inputs, out, BuildOptions(workers=2, shard_size=10))
    return out


def shards_of(dataset: Path, table: SampleTable, split: str) -> list[Path]:
    return [paths.shards(dataset) / name for name in sorted(set(table.shard[table.split == split].tolist()))]


@pytest.mark.parametrize("split", ["train", "test"])
def test_webdataset_reads_every_sample(dataset: Path, tree, split: str) -> None:
    webdataset = pytest.importorskip("webdataset")
    table = SampleTable.read(dataset)
    paths = [str(path) for path in shards_of(dataset, table, split)]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False, empty_check=False))
    rows = table.select(split)
    assert [sample["__key__"] for sample in samples] == table.wds_key[rows].tolist()
    for sample, row in zip(samples, rows, strict=True):
        description = json.loads(sample["json"])
        assert description["image_id"] == table.image_id[row]
        assert (description["rows"], description["columns"]) == (table.rows[row], table.columns[row])
        assert not {"patient", "patient_id"} & set(description)
        pixels = cv2.imdecode(np.frombuffer(sample[table.image_format[row]], np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == (table.rows[row], table.columns[row])
        assert pixels.dtype == (np.uint8 if table.image_format[row] == "jpg" else np.uint16)
        if split == "train":
            mask = rle.decode(sample["rle"].decode(), *pixels.shape)
            np.testing.assert_array_equal(mask, tree.masks[description["image_id"]])
        else:
            assert "rle" not in sample


@pytest.mark.parametrize("indexed", [True, False], ids=["our index", "DALI's own scan"])
def test_dali_reads_every_sample(dataset: Path, indexed: bool) -> None:
    dali = pytest.importorskip("nvidia.dali")
    table = SampleTable.read(dataset)
    paths = shards_of(dataset, table, "train")

    @dali.pipeline_def(batch_size=6, num_threads=1, device_id=None)
    def pipeline():
        outputs = dali.fn.readers.webdataset(
            paths=[str(path) for path in paths],
            index_paths=[str(path.with_suffix(".idx")) for path in paths] if indexed else [],
            ext=["jpg;png", "rle", "json"],
            missing_component_behavior="error",
        )
        return tuple(outputs)

    rows, seen = table.select("train"), []
    pipe = pipeline()
    for _ in range(len(rows) // 6):
        images, masks, descriptions = (output.as_cpu() for output in pipe.run())
        seen += [
            (bytes(images.at(n)), bytes(masks.at(n)), json.loads(bytes(descriptions.at(n)))["image_id"])
            for n in range(6)
        ]
    content = {path.name: path.read_bytes() for path in paths}
    assert [image_id for _, _, image_id in seen] == table.image_id[rows].tolist()
    for (image, mask, _), row in zip(seen, rows, strict=True):
        shard, start, mask_start = content[table.shard[row]], table.offset[row], table.rle_offset[row]
        assert image == shard[start : start + table.bytes[row]]
        assert mask == shard[mask_start : mask_start + table.rle_bytes[row]]
