"""One unit of a build: read its files, write its shard, and leave a record that says so."""

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pneumo.dataset import limits, paths, scan
from pneumo.dataset.plan import PlannedSample, ShardPlan
from pneumo.dataset.scan import QuarantineRow, Source
from pneumo.dataset.tar import TarWriter
from pneumo.dicom import reader
from pneumo.dicom.rejection import DicomRejectedError, Reason
from pneumo.masks import rle
from pneumo.runtime.files import publish, publish_text


@dataclass(frozen=True)
class ShardRecord:
    """What became of a unit's files."""

    rows: list[dict[str, Any]]
    """Rows of the table, without folds yet."""
    quarantined: list[QuarantineRow]

    def as_json(self) -> dict[str, Any]:
        """Return what ``read_record`` reads."""
        return {"rows": self.rows, "quarantined": [asdict(refusal) for refusal in self.quarantined]}


def write(dataset: Path, deadly: Mapping[Source, DicomRejectedError], unit: ShardPlan) -> int:
    """Write a unit's tar, its index and, last, its record; return the number of files done.

    Args:
        dataset: The dataset's directory.
        deadly: Files that are not to be opened, because they end the process that reads them, and what to say of them.
        unit: What to write.
    """
    record = ShardRecord([], [])
    with publish(paths.tar(dataset, unit.name)) as file:
        writer = TarWriter(file)
        for entry in unit.samples:
            try:
                if entry.source in deadly:
                    raise deadly[entry.source]
                record.rows.append(_add(writer, unit.name, entry))
            except DicomRejectedError as error:
                record.quarantined.append(scan.quarantine_row(entry.source, entry.image_id, error))
        writer.close()
    if record.rows:
        publish_text(paths.index(dataset, unit.name), writer.index())
    else:
        # Neither DALI nor webdataset reads a tar without members.
        paths.tar(dataset, unit.name).unlink()
    publish_text(paths.shard_record(dataset, unit.name), json.dumps(record.as_json()))
    return len(unit.samples)


def is_done(dataset: Path, unit: ShardPlan) -> bool:
    """Return whether the unit has been written, now or by an earlier or parallel process."""
    return paths.shard_record(dataset, unit.name).is_file()


def read_record(dataset: Path, unit: ShardPlan) -> ShardRecord:
    """Read the record of a unit that is done."""
    content = json.loads(paths.shard_record(dataset, unit.name).read_text(encoding="utf-8"))
    refused = [QuarantineRow(**{**row, "reason": Reason(row["reason"])}) for row in content["quarantined"]]
    return ShardRecord(content["rows"], refused)


def probe(source: Source) -> None:
    """Read a file for no result but that the process survives."""
    with contextlib.suppress(DicomRejectedError):
        limits.timed(reader.read, source.path)


def _add(writer: TarWriter, unit: str, entry: PlannedSample) -> dict[str, Any]:
    """Append one sample to the shard and return its row; on a rejection nothing has been written."""
    image = limits.timed(reader.read, entry.source.path)
    attributes = image.attributes
    area = _area(entry.mask, attributes.rows, attributes.columns)
    # dataclasses.asdict copies deeply, which costs as much as reading the file.
    allowed = {name.name: getattr(attributes, name.name) for name in fields(attributes)}
    description = {
        "image_id": entry.image_id,
        **allowed,
        "was_monochrome1": image.was_monochrome1,
        "render_notes": image.render_notes,
    }
    described = json.dumps(description, sort_keys=True).encode("ascii")
    mask = None if entry.mask is None else entry.mask.encode("ascii")
    members = [(image.encoding, image.data), *([("rle", mask)] if mask is not None else []), ("json", described)]
    offsets = writer.add(entry.key, members)
    return {
        "image_id": entry.image_id,
        "wds_key": entry.key,
        "split": entry.source.split,
        "fold": -1,
        "patient": entry.patient,
        "rows": attributes.rows,
        "columns": attributes.columns,
        "row_spacing_mm": _known(attributes.row_spacing_mm, math.nan),
        "column_spacing_mm": _known(attributes.column_spacing_mm, math.nan),
        "view": attributes.view,
        "sex": attributes.sex,
        "age_years": _known(attributes.age_years, -1),
        "transfer_syntax": attributes.transfer_syntax,
        "was_monochrome1": image.was_monochrome1,
        "positive": area > 0,
        "mask_area": area,
        "shard": f"{unit}.tar",
        "encoding": image.encoding,
        "offset": offsets[0],
        "bytes": len(image.data),
        "rle_offset": -1 if mask is None else offsets[1],
        "rle_bytes": 0 if mask is None else len(mask),
        "json_bytes": len(described),
        "sha256": hashlib.sha256(image.data).hexdigest(),
        "rle_sha256": "" if mask is None else hashlib.sha256(mask).hexdigest(),
        "json_sha256": hashlib.sha256(described).hexdigest(),
        "render_notes": "; ".join(image.render_notes),
    }


def _area(mask: str | None, rows: int, columns: int) -> int:
    """Return the pixels of the mask, -1 without one.

    Raises:
        Rejected: When the mask does not fit the image.
    """
    if mask is None:
        return -1
    try:
        return int(rle.parse(mask, rows * columns)[:, 1].sum())
    except rle.RleError as error:
        raise DicomRejectedError(
            Reason.BAD_MASK,
            "mask",
            f"{error} ({rows} x {columns})",
            "a mask of this image's size",
            "check that the masks CSV belongs to these files",
        ) from None


def _known(value: float | None, unknown: float) -> float:
    return unknown if value is None else value
