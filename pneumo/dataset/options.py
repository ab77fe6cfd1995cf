"""What a build is given: its input files, and how to build."""

from dataclasses import field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from pneumo.dataset.limits import Limits
from pneumo.dataset.plan import SHARD_SIZE
from pneumo.runtime.config import config_dataclass, refuse
from pneumo.runtime.ranges import NumFolds, Percent, Seed, Workers


@config_dataclass
class BuildInputs:
    """The user's files."""

    dicom: Path
    """Directory of the training DICOMs, searched recursively, any file name. Without masks: of test images."""
    test_dicom: Path | None = None
    """Directory of DICOMs without labels, to predict."""
    masks: Path | None = None
    """CSV of image ids and run-length encoded masks, in any of the competition's variants."""
    patients: Path | None = None
    """CSV of ImageId,PatientId that keeps a patient's images in one fold. Without it the DICOMs' PatientID does."""


@config_dataclass
class BuildOptions:
    """How to build; the dataset's content depends only on the folds, their seed and the shard size.

    Limits and ``max_quarantined`` decide which files are rejected and how many of them a dataset may have.
    """

    num_folds: NumFolds = 5
    seed: Seed = 0
    workers: Workers = 1
    task: Annotated[int, Interval(ge=0, lt=1_000_000)] = 0
    """Index of this process among ``tasks``, from 0."""
    tasks: Annotated[int, Interval(ge=1, le=1_000_000)] = 1
    shard_size: Annotated[int, Interval(ge=1, le=1_000_000)] = SHARD_SIZE
    """Images in a shard."""
    max_quarantined: Percent = 5.0
    """Percent of the files found that may be quarantined; with more, the dataset is not published."""
    limits: Limits = field(default_factory=Limits)
    """Time and memory that reading one file may take."""

    def __post_init__(self) -> None:
        if self.task >= self.tasks:
            raise refuse("task", self.task, f"0 to {self.tasks - 1}")
