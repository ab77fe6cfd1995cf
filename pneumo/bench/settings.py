"""The settings of the benchmarks, which are flags."""

from dataclasses import field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval, MultipleOf

from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores
from pneumo.runtime.ranges import Workers


@config_dataclass
class Settings:
    """Sizes and counts of a run of the benchmarks."""

    dicom: Path | None = None
    """Directory of real DICOMs, searched recursively; without it synthetic ones are drawn."""
    masks: Path | None = None
    """CSV of run-length encoded masks of the images in --dicom, needed with it."""
    dataset: Path | None = None
    """Dataset of job/shard.py whose images are read, which is left as it is; without it, one is built of the DICOMs, as
    for the other parts (load, infer)."""
    images: Annotated[int, Interval(ge=2, le=100_000)] = 48
    """Images to work on, spread evenly over --dicom or --dataset. A synthetic one takes a second to draw."""
    shard_files: Annotated[int, Interval(ge=20, le=100_000)] = 400
    """Files that the whole command is measured on, made of --images under other ids, and on a tenth of them (shard)."""
    source_size: Annotated[int, Interval(ge=64, le=8192)] = 1024
    """Rows and columns of the synthetic DICOMs and of the masks, in pixels (rle, shard, verify, load)."""
    size: Annotated[int, Interval(ge=32, le=4096)] = 512
    """Height and width of the loaders' batches, in pixels (load)."""
    train_size: Annotated[int, MultipleOf(32), Interval(ge=32, le=4096)] = 128
    """Height and width of the small network's training step, in pixels; the large networks' on a GPU is 512 (train)."""
    infer_size: Annotated[int, MultipleOf(32), Interval(ge=32, le=4096)] = 256
    """Height and width of the network's input on a CPU, in pixels; on a GPU it is 512 (infer)."""
    save_encoder: str = "se_resnext50_32x4d"
    """Encoder of the network whose checkpoint is saved; the default is the largest that a recipe has (save)."""
    histograms: Annotated[int, Interval(ge=10, le=100_000)] = 12_000
    """Images whose histograms the decision rule is searched on, and ten times as many (search)."""
    table_images: Annotated[int, Interval(ge=10, le=100_000)] = 10_000
    """Images of the smallest of the three tables that are opened, the others having 10 and 100 times as many (plan)."""
    rules: Annotated[int, Interval(ge=1, le=1_000_000)] = 200
    """Rules of the grid on which the loop over the rules is timed (search)."""
    repeat: Annotated[int, Interval(ge=1, le=1000)] = 5
    """Rounds; every work runs once in each."""
    workers: Workers = field(default_factory=available_cores)
    """Processes of the whole build, threads of the check (shard, verify, copy)."""

    def __post_init__(self) -> None:
        """Check the fields that depend on each other.

        Raises:
            UserError: Naming the field, the value found and the values accepted.
        """
        if (self.dicom is None) != (self.masks is None):
            raise UserError("only one of --dicom and --masks", "both or neither", "give the other one too")
