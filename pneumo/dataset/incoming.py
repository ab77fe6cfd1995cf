"""New images to predict: read as for a dataset, into shards that exist only while they are predicted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pneumo.dataset import paths, quarantine
from pneumo.dataset.build import build_planned, make_plan
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.messages import NothingToBuildError
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dataset.workers import Pool
from pneumo.dicom.opening import Location
from pneumo.runtime.errors import RECOVERABLE_ERRNOS, UserError, counted

LISTS = paths.PREDICTION_LISTS
"""What is not predicted, and why."""


@dataclass(frozen=True, kw_only=True)
class IncomingImages:
    """The images of one prediction, and the files that are not among them."""

    reader: ShardReader
    """Of the images, all of the test split."""
    sources: Mapping[str, Location]
    """The file of each image, by its id."""
    lists: Mapping[str, str]
    """The text of each of ``LISTS``."""
    manifest: Manifest | None
    """How many files became what; None without an image."""
    problem: UserError | None = None
    """Why there is no image; None when there is one."""

    @property
    def account(self) -> str:
        """How many files became what, in a sentence; empty without an image."""
        if (manifest := self.manifest) is None:
            return ""
        return (
            f"{counted(manifest.found, 'file')} found = {manifest.samples} predicted"
            f" + {manifest.quarantined} quarantined + {manifest.left_out} left out"
            f" + {manifest.merged_duplicates} merged duplicates"
        )


def read_images(inputs: BuildInputs, options: BuildOptions, dataset: Path, out: Path) -> IncomingImages:
    """Read images into shards.

    Args:
        inputs: The images.
        options: How to read them.
        dataset: Directory for the shards.
        out: Directory of the results, for messages: the shards' directory is gone when a message is read.

    Raises:
        UserError: When there are no such files, or the shards cannot be written.
    """
    manifest: Manifest | None = None
    problem: UserError | None = None
    with Pool(options.workers, options.limits) as pool:
        plan = make_plan(inputs, dataset, options, pool)
        try:
            manifest = build_planned(inputs, dataset, plan, options, pool)
        except NothingToBuildError as error:
            advice = quarantine.describe_lists(dataset, "test", out) or "check --dicom"
            problem = UserError(error.found, "X-ray images in --dicom", advice)
        except OSError as error:
            if error.errno not in RECOVERABLE_ERRNOS:
                raise
            raise UserError(
                f"--out {out}: {error.strerror}",
                "free space for the images, and the permission to write there",
                "make space or give another --out, and start the same command again",
            ) from error
    table = SampleTable.read(dataset) if manifest else SampleTable.from_rows([])
    return IncomingImages(
        reader=ShardReader(dataset, table),
        sources={sample.image_id: sample.source.path for shard in plan.shards for sample in shard.samples},
        lists={name: (dataset / name).read_text(encoding="utf-8") for name in LISTS},
        manifest=manifest,
        problem=problem,
    )
