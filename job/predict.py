#!/usr/bin/env python3
"""Predict new DICOMs with a finished run: masks, a table of findings, and pictures of what was found.

    python job/predict.py --run runs/NAME --dicom FILE_OR_DIR --out DIR

Writes into DIR:
    predictions.csv   ImageId,EncodedPixels: one row an image, as in a submission
    findings.csv      one row an image: positive or not, probabilities, area in pixels and, where known, in mm2
    quarantine.csv    files that could not be read, with the reason
    overlays/         a picture for each positive image, the mask outlined

quarantine.csv comes first, and however many files are in it, the others are predicted; the closing line says the sum.
Not for clinical use. Exit codes: 0 done, 2 wrong input, or nothing in it that can be predicted.
"""

import csv
import io
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pneumo.dataset import paths
from pneumo.dataset.build import build
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dicom import image_codec
from pneumo.distributed.startup import init, shutdown
from pneumo.inference.ensembler import ImagePrediction
from pneumo.masks import rle
from pneumo.reporting import overlays
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log, track
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_text
from pneumo.runtime.machine import available_cores
from pneumo.runtime.ranges import ReferenceArea, WorkersOrAuto
from pneumo.training import finish, run_directory

OVERLAY_SIDE = 768


@config_dataclass
class Arguments:
    """Flags of job/predict.py."""

    run: Path
    """Run directory whose folds are all trained."""
    dicom: Path
    """DICOM file, or directory that is searched recursively."""
    out: Path
    """Directory for the results."""
    min_component: ReferenceArea = 0.0
    """Drop connected parts of a mask smaller than this, in pixels of a 1024x1024 image; 0 = none."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the networks' arithmetic; auto = bf16 where the device has it, else fp32."""
    workers: WorkersOrAuto = 0
    """Threads and processes that read and decode; 0 = the cores this process may use."""


def main() -> None:
    """Predict."""
    description = (__doc__ or "").strip()
    arguments = cli.parse(Arguments, sys.argv[1:], prog="job/predict.py", description=description)
    run = run_directory.load(arguments.run)
    workers = arguments.workers or available_cores()
    world = init(precision=arguments.precision, expect_world=1)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {arguments.out}: {error.strerror}", "a writable directory", "give another") from error
    # The images lie in shards while they are predicted, where only this user can read them.
    scratch = Path(tempfile.mkdtemp(prefix=".shards-", dir=arguments.out))
    try:
        manifest = intake(arguments.dicom, arguments.out, scratch / "dataset", workers)
        table = SampleTable.read(scratch / "dataset")
        reader = ShardReader(scratch / "dataset", table)
        if not run.thresholds.is_file():
            finish.finish(run, world, reader, workers=workers)
        findings = finish.write_submission(
            [run],
            world=world,
            reader=reader,
            out=arguments.out / "predictions.csv",
            workers=workers,
            min_component=arguments.min_component,
        )
        write_findings(arguments.out / "findings.csv", findings, table)
        draw(arguments.out / "overlays", findings, reader)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutdown()
    log.info("results: %s", arguments.out)
    sys.stdout.write(
        f"{manifest.found} files found = {manifest.samples} predicted + {manifest.quarantined} quarantined"
        f" + {manifest.merged_duplicates} merged duplicates\n"
    )


def intake(dicom: Path, out: Path, dataset: Path, workers: int) -> Manifest:
    """Make a dataset of the files given, and publish the list of those that cannot be predicted in any case.

    Raises:
        UserError: When there is nothing to predict.
    """
    quarantine = dataset / paths.QUARANTINE
    try:
        # A hospital's folder may hold anything; what is an image in it must be predicted all the same.
        manifest = build(BuildInputs(dicom=dicom), dataset, BuildOptions(workers=workers, max_quarantined=100))
    except UserError as error:
        if not quarantine.is_file():
            raise
        publish_text(out / paths.QUARANTINE, quarantine.read_text(encoding="utf-8"))
        raise UserError(
            error.found, "DICOM images in --dicom", f"see {out / paths.QUARANTINE} for what they are instead"
        ) from None
    assert manifest is not None
    publish_text(out / paths.QUARANTINE, quarantine.read_text(encoding="utf-8"))
    return manifest


def write_findings(path: Path, findings: Sequence[ImagePrediction], table: SampleTable) -> None:
    """Write one row an image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "positive", "head_probability", "largest_probability", "area_px", "area_mm2"])
    for finding, row in zip(findings, table.select("test").tolist(), strict=True):
        area_mm2 = finding.mask_area * float(table.row_spacing_mm[row]) * float(table.column_spacing_mm[row])
        writer.writerow(
            [
                finding.image_id,
                int(finding.mask_area > 0),
                "" if math.isnan(finding.presence_probability) else f"{finding.presence_probability:.4f}",
                f"{finding.max_probability:.4f}",
                finding.mask_area,
                "" if math.isnan(area_mm2) else f"{area_mm2:.1f}",
            ]
        )
    publish_text(path, text.getvalue())


def draw(folder: Path, findings: Sequence[ImagePrediction], reader: ShardReader) -> None:
    """Draw each positive image with its mask's outline."""
    rows = reader.table.select("test").tolist()
    positive = [(f, row) for f, row in zip(findings, rows, strict=True) if f.mask_area > 0]
    for finding, row in track(positive, "overlays", len(positive), unit="images"):
        image = image_codec.to_float(image_codec.decode(reader.image(row)))
        panel = overlays.Panel(
            image=image,
            predicted=rle.decode(finding.rle, *image.shape),
            truth=None,
            caption=f"{finding.mask_area} px",
        )
        overlays.save(folder / f"{reader.table.wds_key[row]}.png", overlays.draw(panel, OVERLAY_SIDE))


if __name__ == "__main__":
    cli.run(main)
