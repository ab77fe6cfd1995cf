"""Which input a directory was built from.

An unfinished dataset has a record of its input in ``.build/plan.json``; of a finished one, dataset.json and the table
say what it was built from.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Self

from pneumo.dataset import paths
from pneumo.dataset.manifest import GroupedBy, IdSource, Manifest
from pneumo.dataset.paths import Split
from pneumo.dataset.plan import BuildPlan
from pneumo.runtime import config, documents
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_text


@config_dataclass
class InputRecord:
    """What is known of the input that a directory was built from: the content of .build/plan.json."""

    digest: str
    """That of the plan."""
    id_source: IdSource
    grouped_by: GroupedBy
    splits: tuple[Split, ...]
    """Those that have images."""

    @classmethod
    def of(cls, plan: BuildPlan) -> Self:
        """Return the record of a plan."""
        return cls(
            digest=plan.digest,
            id_source=plan.id_source,
            grouped_by=plan.grouped_by,
            splits=plan.planned_splits,
        )

    @classmethod
    def of_dataset(cls, manifest: Manifest) -> Self:
        """Return the record of a finished dataset."""
        counts: dict[Split, int] = {
            "train": manifest.train,
            "test": manifest.test,
            "unlabeled": manifest.unlabeled_samples,
        }
        return cls(
            digest=manifest.digest,
            id_source=manifest.id_source,
            grouped_by=manifest.grouped_by,
            splits=tuple(split for split, count in counts.items() if count),
        )


class OtherInputError(Exception):
    """A directory was built from another input.

    Args:
        what: What the directory holds.
        record: Its input.
    """

    def __init__(self, what: str, record: InputRecord) -> None:
        super().__init__(what)
        self.what, self.record = what, record


def write_or_check(out: Path, plan: BuildPlan) -> None:
    """Record which input an unfinished dataset is built from, or check that it is this one.

    Raises:
        OtherInputError: When it is another one.
        UserError: When the record cannot be written or read.
    """
    path = paths.plan(out)
    try:
        if not path.is_file():
            publish_text(path, json.dumps(asdict(InputRecord.of(plan))) + "\n")
    except OSError as error:
        raise UserError(
            f"{out}: {error.strerror}", "a directory that can be written to", "choose another --out"
        ) from None
    try:
        record = config.from_json(InputRecord, documents.read(path), str(path))
    except (ValueError, UserError) as error:
        raise UserError(
            f"{path} cannot be read ({error.found if isinstance(error, UserError) else error})",
            "the record of the input that an unfinished dataset is built from",
            f"remove {out} and start the same command again, or choose another --out",
        ) from None
    if record.digest != plan.digest:
        raise OtherInputError("an unfinished dataset", record)
