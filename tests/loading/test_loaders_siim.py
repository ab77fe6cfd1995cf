"""Both loaders on the competition's sample files, through a dataset built by the product."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.loading.augmentation.intensity import Intensity
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.loading.build import build_loader
from pneumo.loading.contract import BatchPlan
from pneumo.loading.kind import LoaderKind

pytestmark = pytest.mark.siim


@pytest.fixture(scope="module")
def reader(siim: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    source = siim / "sample10"
    out = tmp_path_factory.mktemp("siim") / "dataset"
    build(
        BuildInputs(dicom=source, masks=next(source.glob("*.csv"))), out, BuildOptions(num_folds=2, max_quarantined=20)
    )
    return ShardReader(out, SampleTable.read(out))


def load(reader: ShardReader, kind: LoaderKind, size: int, augmentation: Augmentation | None):
    rows = np.arange(len(reader.table))
    loader = build_loader(kind, reader, torch.device("cpu"), 2)
    plan = BatchPlan(rows=rows, positions=rows, epoch=1, size=size, seed=1, augmentation=augmentation)
    return next(loader([plan]))


@pytest.mark.parametrize("size", [512, 224])
@pytest.mark.parametrize(
    "augmentation", [None, Augmentation(intensity=Intensity(probability=1))], ids=["plain", "augmented"]
)
def test_loaders_agree_on_real_images(reader, size, augmentation):
    pytest.importorskip("nvidia.dali")
    ours, theirs = (load(reader, kind, size, augmentation) for kind in ("opencv", "dali"))
    assert torch.equal(ours.mask, theirs.mask)
    difference = (ours.image - theirs.image).abs()
    assert difference.mean() < 0.5 / 255
    assert difference.flatten(1).quantile(0.999, dim=1).max() < 3 / 255


def test_mask_keeps_its_area_at_the_network_size(reader):
    table, batch = reader.table, load(reader, "opencv", 512, None)
    assert table.positive.any()
    for row in np.flatnonzero(table.positive):
        assert float(batch.mask[row].sum()) * 4 == pytest.approx(table.mask_area[row], rel=0.03)
