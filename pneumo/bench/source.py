"""The benchmarks' settings, and their DICOM files, real or synthetic, in one directory."""

import shutil
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval, MultipleOf

from pneumo.bench.timing import quiet
from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dicom import files
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores
from pneumo.runtime.ranges import Workers
from pneumo.synthetic.dicom_tree import write_tree


@config_dataclass
class Settings:
    """Sizes and counts of a run of the benchmarks."""

    dicom: Path | None = None
    """Directory of real DICOMs, searched recursively; without it synthetic ones are drawn."""
    masks: Path | None = None
    """CSV of run-length encoded masks of the images in --dicom, needed with it."""
    images: Annotated[int, Interval(ge=2, le=100_000)] = 48
    """DICOMs to work on, spread evenly over --dicom (shard, verify, load). A synthetic one takes a second to draw."""
    source_size: Annotated[int, Interval(ge=64, le=8192)] = 1024
    """Rows and columns of the synthetic DICOMs and of the masks, in pixels (rle, shard, verify, load)."""
    size: Annotated[int, Interval(ge=32, le=4096)] = 512
    """Height and width of the loaders' batches, in pixels (load)."""
    train_size: Annotated[int, MultipleOf(32), Interval(ge=32, le=4096)] = 128
    """Height and width of the small network's training step, in pixels; the large networks' on a GPU is 512 (train)."""
    save_encoder: str = "se_resnext50_32x4d"
    """Encoder of the network whose checkpoint is saved; the default is the largest that a recipe has (save)."""
    histograms: Annotated[int, Interval(ge=10, le=1_000_000)] = 12_000
    """Images whose histograms the decision rule is searched on (search)."""
    rules: Annotated[int, Interval(ge=1, le=1_000_000)] = 200
    """Rules of the grid on which the loop over the rules is timed (search)."""
    repeat: Annotated[int, Interval(ge=1, le=1000)] = 5
    """Rounds; every work runs once in each."""
    workers: Workers = field(default_factory=available_cores)
    """Processes of the whole build, threads of the check (shard, verify)."""

    def __post_init__(self) -> None:
        """Check the fields that depend on each other.

        Raises:
            UserError: Naming the field, the value found and the values accepted.
        """
        if (self.dicom is None) != (self.masks is None):
            raise UserError("only one of --dicom and --masks", "both or neither", "give the other one too")


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
        indices = np.linspace(0, len(found) - 1, min(self.settings.images, len(found))).round().astype(int)
        for index in np.unique(indices).tolist():
            target = self.directory / "dicom" / found[index].relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found[index], target)
        return self.directory / "dicom"
