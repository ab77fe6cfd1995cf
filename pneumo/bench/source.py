"""The DICOM files of the benchmarks, real or synthetic, in one directory."""

import shutil
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pneumo.bench.settings import Settings
from pneumo.bench.timing import quiet
from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dicom import files
from pneumo.runtime.errors import UserError
from pneumo.synthetic.dicom_tree import write_tree


class Source:
    """The DICOM files of a run, drawn or copied when they are first used.

    Args:
        settings: Where they are from, and how many.
        directory: An empty directory for them and for what the benchmarks write.
    """

    def __init__(self, settings: Settings, directory: Path) -> None:
        if settings.dicom is not None and not settings.dicom.is_dir():
            raise UserError(f"--dicom {settings.dicom}", "a directory of DICOM files", "correct --dicom")
        self.settings, self.directory = settings, directory

    @cached_property
    def inputs(self) -> BuildInputs:
        """The DICOM directory and its masks."""
        if self.settings.dicom is None or self.settings.masks is None:
            return self._draw()
        return BuildInputs(dicom=self._copy(self.settings.dicom), masks=self.settings.masks)

    @cached_property
    def dataset(self) -> Path:
        """A dataset of all files, built for the benchmarks that read one."""
        with quiet():
            build(self.inputs, self.directory / "dataset", BuildOptions(num_folds=2, workers=self.settings.workers))
        return self.directory / "dataset"

    @cached_property
    def reader(self) -> ShardReader:
        """The training images of ``--dataset`` that are used; without it, those of the dataset of all files."""
        given = self.settings.dataset
        table = SampleTable.read(given or self.dataset)
        rows = table.select("train")
        return ShardReader(given or self.dataset, table.take(rows[_spread(len(rows), self.settings.images)]))

    def _draw(self) -> BuildInputs:
        settings = self.settings
        tree = write_tree(
            self.directory / "tree",
            images=settings.images,
            test_images=0,
            size=settings.source_size,
            positive_fraction=0.22,
            seed=0,
            workers=settings.workers,
        )
        return BuildInputs(dicom=tree.dicom, masks=tree.masks)

    def _copy(self, root: Path) -> Path:
        """Copy the files that are used, so that the speed of their disk is not measured."""
        found = files.find(root)
        if not found:
            raise UserError(f"--dicom {root} holds no file", "a directory of DICOM files", "correct --dicom")
        for index in _spread(len(found), self.settings.images).tolist():
            target = self.directory / "dicom" / found[index].relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found[index], target)
        return self.directory / "dicom"


def _spread(count: int, wanted: int) -> npt.NDArray[np.int64]:
    """Return indices of some of a number of items, spread evenly over them."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))
