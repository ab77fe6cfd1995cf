"""Predict new images, DICOM, PNG or JPEG: masks, a table of numbers, and pictures.

    python job/predict.py --run runs/NAME --dicom FILE_OR_DIR_OR_ZIP --out DIR

Writes into DIR:
    predictions.csv   ImageId,EncodedPixels: one row per image, as in a submission
    findings.csv      one row per image: positive or not, probabilities, area in pixels and, where known, in mm2
                      (format version 4: image_id, positive, presence_probability, max_pixel_probability,
                      mask_area_px, mask_area_mm2, modality, body_part, view, presentation_intent, rle, notes); a note
                      says where the area in mm2 is that on the detector, larger than in the patient
    quarantine.csv    files that could not be read, with the reason
    left_out.csv      images that are no frontal chest X-rays by their header, and masks among the images, with what
                      says so
    overlays/         a picture of each positive image, or with --overlays all of each image, with its mask outlined
    summary.html      a page of the findings with pictures, positive images first, and of what was not predicted and why
    segmentations/    the mask of each positive DICOM as a DICOM SEG that refers to it, with its patient and study: only
                      you can read these files
    secondary_captures/  the overlays as DICOM Secondary Captures, as private; only when --outputs names them

--run is a finished run, or an exported model (job/export.py).

However many files are in quarantine.csv, the others are predicted; the last line of the output counts both. The results
are written at the end and replace those of an earlier prediction, and nothing else: one that was changed since, such as
masks corrected by hand, is exit code 2. A prediction that is stopped leaves none. When one of the results cannot be
written, the others are, and the exit code is 2. Not for clinical use. Exit codes: 0 done, 2 wrong input, or no file to
predict.
"""

import sys
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pneumo.dataset import workers
from pneumo.dataset.limits import Limits
from pneumo.dataset.manifest import IdSource
from pneumo.dataset.paths import PREDICTION_LISTS
from pneumo.dataset.url import refuse_url
from pneumo.dicom import files
from pneumo.inference.config import LoaderOverride, PrecisionOverride
from pneumo.reporting.outputs.registry import DEFAULT_OUTPUTS, OUTPUTS, check_directory
from pneumo.runtime import cli, result_directory
from pneumo.runtime.config import config_dataclass, invalid_value
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, escape_control_characters
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.ranges import ReferenceArea, WorkersOrAuto
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags

WRITTEN = (*PREDICTION_LISTS, *(entry.file for entry in OUTPUTS.values()))
"""Everything that is written into --out."""


@config_dataclass
class Arguments:
    """Flags of job/predict.py."""

    run: Path
    """Run directory whose folds are all trained, or a directory that job/export.py made."""
    dicom: Path
    """DICOM, PNG or JPEG file, zip archive of such files, or directory that is searched recursively, its zip archives
    too."""
    out: Path
    """Directory for the results."""
    include_non_frontal: bool = False
    """Predict images too whose header says that they are no frontal chest X-rays to be looked at; left_out.csv lists
    them without the flag."""
    id: IdSource = "uid"
    """What the ids of the results are: uid = SOPInstanceUID; file-name = the file's name without its suffix."""
    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    """What to write beside quarantine.csv; all but secondary-captures by default."""
    overlays: Literal["positive", "all"] = "positive"
    """Images that get a picture in overlays/ and secondary_captures/: those with a mask, or all."""
    min_component: ReferenceArea = 0.0
    """Remove connected components of a mask smaller than this, in pixels of a 1024x1024 image, if it is more than
    the recipe's; 0 = none."""
    loader: LoaderOverride = "recipe"
    """Loader of the images; recipe = the run's."""
    precision: PrecisionOverride = "recipe"
    """Precision of the networks' arithmetic; recipe = the run's, auto = bf16, fp16 or fp32, as the device
    has them."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)
    workers: WorkersOrAuto = 0
    """Threads and processes that read and decode; 0 = the cores this process may use."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)

    def __post_init__(self) -> None:
        """Check the names of outputs.

        Raises:
            UserError: Naming the flag, the value found and the values accepted.
        """
        if not self.outputs or len(set(self.outputs)) < len(self.outputs) or not OUTPUTS.keys() >= set(self.outputs):
            raise invalid_value("outputs", self.outputs, f"one or more of {', '.join(OUTPUTS)}, each once")


def main() -> None:
    """Predict."""
    arguments = cli.parse(Arguments, sys.argv[1:], prog="job/predict.py", description=__doc__)
    # What can be known is said now: torch is imported in seconds.
    from pneumo.training import finished_run, run_directory

    check_apart("--out", arguments.out, {"--dicom": arguments.dicom, "--run": arguments.run}, writes=WRITTEN)
    result_directory.check(arguments.out, WRITTEN)
    check_directory(arguments.out, arguments.outputs)
    run = None if run_directory.is_exported(arguments.run) else finished_run.open_finished(arguments.run)
    refuse_url(arguments.dicom, "DICOM, PNG or JPEG files")
    files.check(arguments.dicom)
    log.info("%s", escape_control_characters(f"reading {arguments.dicom}, to be predicted by {arguments.run}"))
    workers.start_server()
    with cli.slow_imports():
        from pneumo.distributed.device_memory import explain_out_of_memory
        from pneumo.distributed.startup import init, shutdown
        from pneumo.distributed.stopping import exiting_on_signals
        from pneumo.runtime import locks
        from pneumo.runtime.machine import available_cores
        from pneumo.training.ensemble import LESS_MEMORY
        from pneumo.training.new_images import NewImages, open_exported, predict

    model = run or open_exported(arguments.run)
    world = init(expect_world=1)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {arguments.out}: {error.strerror}", "a writable directory", "give another") from error
    with (
        exiting_on_signals(),
        locks.hold(arguments.out / ".lock", str(arguments.out)),
        explain_out_of_memory(*LESS_MEMORY),
    ):
        predict(
            NewImages(
                dicom=arguments.dicom,
                out=arguments.out,
                id=arguments.id,
                include_non_frontal=arguments.include_non_frontal,
                outputs=arguments.outputs,
                all_overlays=arguments.overlays == "all",
                min_component=arguments.min_component,
                loader=arguments.loader,
                precision=arguments.precision,
                limits=arguments.limits,
                workers=arguments.workers or available_cores(),
            ),
            model,
            world,
        )
    shutdown()


if __name__ == "__main__":
    cli.run(main)
