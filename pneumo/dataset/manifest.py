"""dataset.json: what a finished dataset holds, and the digests by which a run recognizes it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

from pneumo import __version__
from pneumo.dataset import paths
from pneumo.dataset.url import url
from pneumo.runtime import config, documents
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_text
from pneumo.runtime.ranges import Count, NumFolds, Seed

GroupedBy = Literal["patients csv", "dicom", "none"]
IdSource = Literal["uid", "file-name"]
"""What an image's id is: the SOPInstanceUID, or the file's name without its suffix."""

_CHECK = "sha256"
"""Name of the SHA-256 of all other fields in dataset.json."""
_OPTIONAL = "unlabeled_samples"
"""Name of the field that is not in dataset.json when it is 0."""


@config_dataclass
class Manifest:
    """The content of dataset.json.

    Nothing in it depends on when, where or by how many processes it was built; ``digest`` depends on the input's times.
    """

    found: Count
    """Files found; always samples + quarantined + left_out + unlabeled + merged_duplicates."""
    samples: Count
    """Images in the table."""
    train: Count
    """Labeled images, those that have a fold."""
    test: Count
    """Images to predict."""
    positive: Count
    """Training images with a pneumothorax."""
    quarantined: Count
    """Files listed in quarantine.csv."""
    left_out: Count
    """Images that are no frontal chest X-rays, and masks among the images, listed in left_out.csv."""
    unlabeled: Count
    """Readable training files without a row in the masks CSV that are left out, since unlabeled is not negative."""
    merged_duplicates: Count
    """Second and further byte-identical copies of a file."""
    missing: Count
    """Ids of the masks CSV without a file."""
    renamed: Count
    """Samples whose file name differs from their image id."""
    shards: Count
    """Tar files written."""
    patients: Count
    """Patient groups among the training images; an image of an unknown patient is a group by itself."""
    num_folds: NumFolds
    """Number of folds asked for."""
    fold_seed: Seed
    """Seed of the fold assignment."""
    grouped_by: GroupedBy
    """Where the patient groups come from."""
    id_source: IdSource
    """What the image ids are."""
    digest: str
    """SHA-256 of the build's plan: files with their sizes and times of modification, ids, masks, patient groups. A
    build of the same plan has nothing to do."""
    folds_digest: str
    """SHA-256 of the fold of every image."""
    samples_digest: str
    """SHA-256 of everything else in the table (see ``SampleTable.digest``), the digest of each image included. Runs
    recognize a dataset by it, wherever and from whichever copy of the files it was built."""
    unlabeled_samples: Count = 0
    """Such files that are samples all the same, of the split ``unlabeled``; only in the file when there are any."""
    format_version: int = paths.FORMAT_VERSION
    pneumo_version: str = __version__

    def __post_init__(self) -> None:
        accounted_for = self.samples + self.quarantined + self.left_out + self.unlabeled + self.merged_duplicates
        in_splits = self.train + self.test + self.unlabeled_samples
        if self.found != accounted_for or self.samples != in_splits or self.positive > self.train:
            raise UserError("counts that do not add up", "those that job/shard.py wrote", "build the dataset again")

    @classmethod
    def read(cls, dataset: Path) -> Self:
        """Read dataset.json.

        Raises:
            UserError: When the dataset is missing, unfinished, damaged, or of another format version.
        """
        path = paths.manifest(dataset)
        if not path.exists():
            raise _not_finished(dataset)
        return cls._check(lambda: documents.read(path), str(path))

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Read the content of a dataset.json.

        Args:
            data: Its bytes.
            where: What it was read from, for messages.

        Raises:
            UserError: When it is damaged, or of another format version.
        """
        return cls._check(lambda: documents.parse(data), where)

    @classmethod
    def _check(cls, read_content: Callable[[], dict[str, Any]], where: str) -> Self:
        content = documents.versioned(
            read_content,
            where,
            paths.FORMAT_VERSION,
            expected="a readable dataset.json",
            repair="build the dataset again",
            other_version="build it again with job/shard.py, into another directory",
        )
        content["format_version"] = paths.FORMAT_VERSION
        if content.pop(_CHECK, None) != _sha256(content):
            raise UserError(
                f"{where}: not what was written (its fields do not match its SHA-256)",
                "an unchanged dataset.json",
                "copy it or build the dataset again",
            )
        content.setdefault(_OPTIONAL, 0)
        return config.from_json(cls, content, where)

    @property
    def sha256(self) -> str:
        """SHA-256 of all fields: two datasets with the same one are the same, folds included."""
        return _sha256(self._content())

    def write(self, dataset: Path) -> None:
        """Publish dataset.json."""
        content = self._content()
        content[_CHECK] = _sha256(content)
        publish_text(paths.manifest(dataset), json.dumps(content, indent=2, sort_keys=True) + "\n")

    def _content(self) -> dict[str, Any]:
        """Return the fields that the file has: without unlabeled images those of before there were any."""
        return {name: value for name, value in asdict(self).items() if name != _OPTIONAL or value}


def _not_finished(dataset: Path) -> UserError:
    if given := url(dataset):
        return UserError(
            f"{given} is a URL",
            "a dataset on a file system of this machine",
            "copy it; only job/train.py and job/ensemble.py, with --cache-dir, do that by themselves",
        )
    if paths.build(dataset).is_dir():
        return UserError(
            f"{dataset}: a dataset whose build is not finished",
            f"a {paths.MANIFEST} in it",
            "start the same job/shard.py command again; it resumes from what is there",
        )
    for file, kind in ((paths.RUN_FILE, "a run"), (paths.MODEL_FILE, "an exported model")):
        if (dataset / file).is_file():
            return UserError(
                f"{dataset}: no {paths.MANIFEST}: this is {kind}",
                "the directory given to job/shard.py as --out",
                f"give the directory of the dataset, not that of {kind}",
            )
    return UserError(
        f"{dataset}: no {paths.MANIFEST}",
        "the directory given to job/shard.py as --out",
        "check the path, or build the dataset with job/shard.py",
    )


def _sha256(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's fields, whatever their order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
