"""Write one shard: read its files, write its tar and index, and last of all a record of both."""

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import cv2

from pneumo.dataset import levels, limits, paths, scan
from pneumo.dataset.levels import Levels
from pneumo.dataset.limits import Conditions
from pneumo.dataset.plan import PlannedSample, ShardPlan
from pneumo.dataset.read_ahead import read_ahead
from pneumo.dataset.scan import QuarantineRow, Source
from pneumo.dataset.tar import TarWriter
from pneumo.dicom import image_file
from pneumo.dicom.reader import Image
from pneumo.dicom.rejection import FETCH_AGAIN, FileRejectedError, Reason, explain
from pneumo.masks import geometry, rle
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.files import publish, publish_text


@config_dataclass
class ShardRecord:
    """The outcome of one shard: which of its files are samples and which are quarantined; see ``shard_record``."""

    rows: list[dict[str, Any]]
    """Rows of the table, without folds yet."""
    quarantined: list[QuarantineRow]
    conditions: Conditions
    """Under what its files were read."""

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file that ``shard_record.read`` reads."""
        return {
            "rows": self.rows,
            "quarantined": [asdict(row) for row in self.quarantined],
            "conditions": asdict(self.conditions),
        }


def write(
    dataset: Path, conditions: Conditions, crashing_files: Mapping[Source, FileRejectedError], shard: ShardPlan
) -> int:
    """Write a shard's tar, its index and, last, its record; return the number of files read.

    Args:
        dataset: The dataset's directory.
        conditions: Under what the files are read, for the record.
        crashing_files: Files that must not be opened, because they end the process that reads them, each with its
            rejection.
        shard: What to write.
    """
    record = ShardRecord(rows=[], quarantined=[], conditions=conditions)
    with publish(paths.tar(dataset, shard.name)) as file:
        writer = TarWriter(file)
        ahead = read_ahead([sample.source.path for sample in shard.samples if sample.source not in crashing_files])
        for sample in shard.samples:
            try:
                if sample.source in crashing_files:
                    raise crashing_files[sample.source]
                next(ahead)
                record.rows.append(_add(writer, shard.name, sample))
            except FileRejectedError as error:
                record.quarantined.append(scan.quarantine_row(sample.source, sample.image_id, error))
        writer.close()
    if record.rows:
        publish_text(paths.index(dataset, shard.name), writer.index())
    else:
        # Neither DALI nor webdataset reads a tar without members. An index is there when an earlier attempt had any.
        paths.tar(dataset, shard.name).unlink()
        paths.index(dataset, shard.name).unlink(missing_ok=True)
    publish_text(paths.shard_record(dataset, shard.name), json.dumps(record.as_json()))
    return len(shard.samples)


def probe(source: Source) -> None:
    """Read a file to find out whether that ends the process."""
    with contextlib.suppress(FileRejectedError):
        limits.timed(image_file.read, source.path)


def _add(writer: TarWriter, shard: str, sample: PlannedSample) -> dict[str, Any]:
    """Append one sample to the shard and return its row; on a rejection nothing has been written."""
    image = limits.timed(image_file.read, sample.source.path)
    if sample.id_in_file and image.image_id != sample.id_in_file:
        raise FileRejectedError(
            Reason.NO_ID,
            "read",
            "another image id than when its header was read: the file was replaced meanwhile",
            "files that stay as they are until the dataset is built",
            "start the same command again",
        )
    measured = _measure(image)
    attributes = image.attributes
    area = _area(sample.mask, attributes.rows, attributes.columns)
    # dataclasses.asdict copies deeply, which costs as much as reading the file.
    allowed = {name.name: getattr(attributes, name.name) for name in fields(attributes)}
    description = {
        "image_id": sample.image_id,
        **allowed,
        "was_monochrome1": image.was_monochrome1,
        "render_notes": image.render_notes,
    }
    described = json.dumps(description, sort_keys=True).encode("ascii")
    mask = None if sample.mask is None else sample.mask.encode("ascii")
    members = [(image.image_format, image.data), *([("rle", mask)] if mask is not None else []), ("json", described)]
    offsets = writer.add(sample.wds_key, members)
    return {
        "image_id": sample.image_id,
        "wds_key": sample.wds_key,
        "split": sample.source.split,
        "fold": -1,
        "patient": sample.patient,
        "rows": attributes.rows,
        "columns": attributes.columns,
        "row_spacing_mm": _known(attributes.row_spacing_mm, math.nan),
        "column_spacing_mm": _known(attributes.column_spacing_mm, math.nan),
        "modality": attributes.modality,
        "body_part": attributes.body_part,
        "view": attributes.view,
        "presentation_intent": attributes.presentation_intent,
        "sex": attributes.sex,
        "age_years": _known(attributes.age_years, -1),
        "transfer_syntax": attributes.transfer_syntax,
        "was_monochrome1": image.was_monochrome1,
        "positive": area > 0,
        "mask_area": area,
        "shard": f"{shard}.tar",
        "image_format": image.image_format,
        "offset": offsets[0],
        "bytes": len(image.data),
        "rle_offset": -1 if mask is None else offsets[1],
        "rle_bytes": 0 if mask is None else len(mask),
        "json_bytes": len(described),
        "sha256": hashlib.sha256(image.data).hexdigest(),
        "rle_sha256": "" if mask is None else hashlib.sha256(mask).hexdigest(),
        "json_sha256": hashlib.sha256(described).hexdigest(),
        "render_notes": "; ".join(image.render_notes),
        "low_level": measured.low,
        "high_level": measured.high,
        "mask_note": geometry.find_problem(sample.mask or rle.EMPTY, attributes.rows, attributes.columns),
    }


def _measure(image: Image) -> Levels:
    """Measure an image's levels.

    Raises:
        FileRejectedError: When what would be stored cannot be decoded.
    """
    try:
        return levels.measure(image.data, image.small)
    except (ValueError, cv2.error) as error:
        raise FileRejectedError(
            Reason.BAD_FRAME,
            "frame",
            explain(error, "a file that does not decode"),
            "an image that can be decoded",
            FETCH_AGAIN,
        ) from None


def _area(mask: str | None, rows: int, columns: int) -> int:
    """Return the pixels of the mask, -1 without one.

    Raises:
        FileRejectedError: When the mask does not fit the image.
    """
    if mask is None:
        return -1
    try:
        return int(rle.parse(mask, rows * columns)[:, 1].sum())
    except rle.RleError as error:
        cause = geometry.find_problem(mask, rows, columns)
        raise FileRejectedError(
            Reason.BAD_MASK,
            "mask",
            f"{error} ({rows} x {columns})" + (f"; {cause}" if cause else ""),
            "a mask of this image's size",
            "check that the masks CSV belongs to these files"
            + (f"; {geometry.ABSOLUTE_ACTION}" if cause == geometry.ABSOLUTE else ""),
        ) from None


def _known(value: float | None, unknown: float) -> float:
    return unknown if value is None else value
