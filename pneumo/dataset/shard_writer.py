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
from pneumo.dataset.plan import Entry, Unit
from pneumo.dataset.scan import Refusal, Source
from pneumo.dataset.tar import TarWriter
from pneumo.dicom import reader
from pneumo.dicom.rejection import Reason, Rejected
from pneumo.masks import rle
from pneumo.runtime.files import publish, publish_text


@dataclass(frozen=True)
class Record:
    """What became of a unit's files."""

    rows: list[dict[str, Any]]
    """Rows of the table, without folds yet."""
    refused: list[Refusal]

    def as_json(self) -> dict[str, Any]:
        """Return what ``read_record`` reads."""
        return {"rows": self.rows, "refused": [asdict(refusal) for refusal in self.refused]}


def write(dataset: Path, deadly: Mapping[Source, Rejected], unit: Unit) -> int:
    """Write a unit's tar, its index and, last, its record; return the number of files done.

    Args:
        dataset: The dataset's directory.
        deadly: Files that are not to be opened, because they end the process that reads them, and what to say of them.
        unit: What to write.
    """
    record = Record([], [])
    with publish(paths.tar(dataset, unit.name)) as file:
        writer = TarWriter(file)
        for entry in unit.entries:
            try:
                if entry.source in deadly:
                    raise deadly[entry.source]
                record.rows.append(_add(writer, unit.name, entry))
            except Rejected as error:
                record.refused.append(scan.refusal(entry.source, entry.image_id, error))
        writer.close()
    if record.rows:
        publish_text(paths.index(dataset, unit.name), writer.index())
    else:
        # Neither DALI nor webdataset reads a tar without members.
        paths.tar(dataset, unit.name).unlink()
    publish_text(paths.unit_record(dataset, unit.name), json.dumps(record.as_json()))
    return len(unit.entries)


def is_done(dataset: Path, unit: Unit) -> bool:
    """Return whether the unit has been written, now or by an earlier or parallel process."""
    return paths.unit_record(dataset, unit.name).is_file()


def read_record(dataset: Path, unit: Unit) -> Record:
    """Read the record of a unit that is done."""
    content = json.loads(paths.unit_record(dataset, unit.name).read_text(encoding="utf-8"))
    refused = [Refusal(**{**row, "reason": Reason(row["reason"])}) for row in content["refused"]]
    return Record(content["rows"], refused)


def probe(source: Source) -> None:
    """Read a file for no result but that the process survives."""
    with contextlib.suppress(Rejected):
        limits.timed(reader.read, source.path)


def _add(writer: TarWriter, unit: str, entry: Entry) -> dict[str, Any]:
    """Append one sample to the shard and return its row; on a rejection nothing has been written."""
    image = limits.timed(reader.read, entry.source.path)
    attributes = image.attributes
    area = _area(entry.mask, attributes.rows, attributes.columns)
    # dataclasses.asdict copies deeply, which costs as much as reading the file.
    allowed = {name.name: getattr(attributes, name.name) for name in fields(attributes)}
    description = {"image_id": entry.image_id, **allowed, "inverted": image.inverted, "notes": image.notes}
    described = json.dumps(description, sort_keys=True).encode("ascii")
    mask = None if entry.mask is None else entry.mask.encode("ascii")
    members = [(image.encoding, image.data), *([("rle", mask)] if mask is not None else []), ("json", described)]
    offsets = writer.add(entry.key, members)
    return {
        "image_id": entry.image_id,
        "key": entry.key,
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
        "inverted": image.inverted,
        "positive": area > 0,
        "area": area,
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
        "notes": "; ".join(image.notes),
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
        raise Rejected(
            Reason.BAD_MASK,
            "mask",
            f"{error} ({rows} x {columns})",
            "a mask of this image's size",
            "check that the masks CSV belongs to these files",
        ) from None


def _known(value: float | None, unknown: float) -> float:
    return unknown if value is None else value
