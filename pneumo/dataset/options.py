"""What a build is given: its input files, and how to build."""

import re
from dataclasses import field
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from pneumo.dataset.limits import Conditions, Limits
from pneumo.dataset.manifest import IdSource
from pneumo.dataset.paths import Split
from pneumo.runtime.config import config_dataclass, invalid_value
from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores
from pneumo.runtime.ranges import NumFolds, Percent, Seed, Workers

SHARD_SIZE = 256
"""Images in a shard: about 35 MB of 1024 x 1024 JPEGs, small enough that a few thousand images occupy every worker."""
PRIVACY_NOTE = (
    "What leaves a DICOM: its first frame's pixels (a JPEG without comments and unused tables), SOPInstanceUID (the "
    "image id), size, "
    "pixel spacing, modality, body part, view, presentation intent, sex, age (90 for 90 and more), transfer syntax, "
    "photometric interpretation and bits stored; patients become group numbers. Of a PNG or JPEG: its pixels, and its "
    "name as the image id; with --id file-name a DICOM's name is the id, too, and gets into every output: check that "
    "no name is a patient's. quarantine.csv, left_out.csv and unmatched.csv contain file names: keep them where the "
    "files are."
)
"""The summary that ``job/shard.py --help`` prints."""

_TASK = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@config_dataclass
class BuildInputs:
    """The user's files."""

    dicom: Path
    """Directory or zip archive of the training images, DICOM, PNG or JPEG, searched recursively, any file name. Without
    masks: of test images."""
    test_dicom: Path | None = None
    """Directory or zip archive of images without labels, to predict."""
    masks: Path | None = None
    """CSV of image ids and run-length encoded masks, in any of the competition's variants."""
    patients: Path | None = None
    """CSV of ImageId,PatientId that keeps a patient's images in one fold. Without it the DICOMs' PatientID does."""
    ignore_patient_id: bool = False
    """Without --patients: count each image as a patient, where the DICOMs' PatientID does not tell patients apart."""
    keep_unlabeled: bool = False
    """Keep the images of --dicom without a row in --masks, too, as a split of their own: nothing is scored on them, and
    only --pseudo-labels.share and --consistency.images of job/train.py learn from them. Without the flag they are left
    out."""
    id: IdSource = "uid"
    """What the ids of the CSVs and of the submission are: uid = SOPInstanceUID; file-name = the file's name without its
    suffix, which is then the id in every output."""

    def __post_init__(self) -> None:
        if self.keep_unlabeled and self.masks is None:
            raise UserError(
                "--keep-unlabeled without --masks", "the masks of the other images", "give --masks, or leave it out"
            )

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that must have images."""
        labeled = self.masks is not None
        return ("train", "test") if labeled and self.test_dicom is not None else ("train" if labeled else "test",)


@config_dataclass
class BuildOptions:
    """How to build; the dataset's content depends only on the folds, their seed and the shard size.

    Limits and ``max_quarantined`` decide which files are rejected and how many of them a dataset may have.
    """

    num_folds: NumFolds = 5
    """Number of folds (2 to 127). Another number on a finished dataset rewrites its table, not its shards."""
    seed: Seed = 0
    """Seed of the fold assignment."""
    workers: Workers = field(default_factory=available_cores)
    """Worker processes."""
    task: str = "0/1"
    """I/N: write every N-th shard, beginning with the I-th, counted from 0."""
    max_quarantined: Percent = 5.0
    """Percent of the files that may be quarantined; with more, exit code 2, and the dataset is not published."""
    include_non_frontal: bool = False
    """Take images too whose header says that they are no frontal chest X-rays to be looked at: another modality (CT,
    MR), body part or view (lateral), or FOR PROCESSING. Without the flag they are left out, and left_out.csv lists
    them."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)
    shard_size: Annotated[int, Interval(ge=1, le=50_000), tyro.conf.Fixed, tyro.conf.Suppress] = SHARD_SIZE
    """Images in a shard, whose record has less than ``documents.MAX_BYTES``; no flag."""

    def __post_init__(self) -> None:
        found = _TASK.fullmatch(self.task)
        if found is None or int(found[1]) >= int(found[2]):
            raise invalid_value("task", self.task, "I/N with I from 0 to N - 1, such as 0/4")

    @property
    def conditions(self) -> Conditions:
        """Under what files are read."""
        return Conditions(limits=self.limits, workers=self.workers)

    @property
    def task_number(self) -> int:
        """Which of the tasks this is, counted from 0."""
        return int(self.task.partition("/")[0])

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return int(self.task.partition("/")[2])

    @property
    def shards(self) -> slice:
        """Which of a plan's shards this task writes."""
        return slice(self.task_number, None, self.tasks)
