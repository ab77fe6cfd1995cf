"""Predict new images, DICOM, PNG or JPEG, with a finished run: masks, a table of numbers, and pictures.

    python job/predict.py --run runs/NAME --dicom FILE_OR_DIR --out DIR

Writes into DIR:
    predictions.csv   ImageId,EncodedPixels: one row per image, as in a submission
    findings.csv      one row per image: positive or not, probabilities, area in pixels and, where known, in mm2
                      (format version 3: image_id, positive, presence_probability, max_pixel_probability,
                      mask_area_px, mask_area_mm2, modality, body_part, view, presentation_intent)
    quarantine.csv    files that could not be read, with the reason
    left_out.csv      images that are no frontal chest X-rays by their header, and masks among the images, with what
                      says so
    overlays/         a picture of each positive image with its mask outlined

However many files are in quarantine.csv, the others are predicted; the last line of the output counts both. The results
are written at the end and replace those of an earlier prediction, and nothing else; a prediction that is stopped leaves
none. When one cannot be written, the others are, and the exit code is 2. Not for clinical use. Exit codes: 0 done, 2
wrong input, or no file that can be predicted.
"""

import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import field
from pathlib import Path
from types import FrameType
from typing import Annotated

import tyro

from pneumo.dataset import oddities, ownership, paths, quarantine
from pneumo.dataset.build import build
from pneumo.dataset.limits import Limits
from pneumo.dataset.manifest import IdSource, Manifest
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.device_memory import explain_out_of_memory
from pneumo.distributed.startup import init, shutdown
from pneumo.distributed.stopping import stop_signals
from pneumo.distributed.world import World
from pneumo.inference.config import LoaderOverride, PrecisionOverride
from pneumo.inference.decision_rule import read_rule
from pneumo.inference.ensembler import Ensembler
from pneumo.reporting.outputs.output_set import OutputSet, check_directory
from pneumo.reporting.outputs.registry import OUTPUTS
from pneumo.runtime import cli, locks
from pneumo.runtime.config import config_dataclass, invalid_value
from pneumo.runtime.console import log
from pneumo.runtime.errors import RECOVERABLE_ERRNOS, UserError, counted
from pneumo.runtime.files import publish_text, remove_temporary_files, temporary_prefix
from pneumo.runtime.machine import available_cores
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.ranges import ReferenceArea, WorkersOrAuto
from pneumo.training import run_directory
from pneumo.training.ensemble import LESS_MEMORY, build_mean
from pneumo.training.locking import exclusive_locks
from pneumo.training.run_directory import RunDirectory
from pneumo.training.run_metrics import finish_run, require_finished_folds

LISTS = paths.PREDICTION_LISTS
"""What is not predicted, and why."""
SHARDS = "shards"
"""Part of the name of the hidden directory with the images that are predicted."""


@config_dataclass
class Arguments:
    """Flags of job/predict.py."""

    run: Path
    """Run directory whose folds are all trained."""
    dicom: Path
    """DICOM, PNG or JPEG file, or directory that is searched recursively."""
    out: Path
    """Directory for the results."""
    include_non_frontal: bool = False
    """Predict images too whose header says that they are no frontal chest X-rays to be looked at; left_out.csv lists
    them without the flag."""
    id: IdSource = "uid"
    """What the ids of the results are: uid = SOPInstanceUID; file-name = the file's name without its suffix."""
    outputs: tuple[str, ...] = tuple(OUTPUTS)
    """What to write beside quarantine.csv; all by default."""
    min_component: ReferenceArea = 0.0
    """Remove connected components of a mask smaller than this, in pixels of a 1024x1024 image; 0 = none."""
    loader: LoaderOverride = "recipe"
    """Loader of the images; recipe = the run's."""
    precision: PrecisionOverride = "recipe"
    """Precision of the networks' arithmetic; recipe = the run's, auto = bf16, fp16 or fp32, as the device
    has them."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)
    workers: WorkersOrAuto = 0
    """Threads and processes that read and decode; 0 = the cores this process may use."""

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
    written = (*LISTS, *(file for file, _ in OUTPUTS.values()))
    check_apart("--out", arguments.out, {"--dicom": arguments.dicom, "--run": arguments.run}, writes=written)
    ownership.check_prediction(arguments.out, written)
    run = run_directory.load(arguments.run)
    # Now, and not after all images are read.
    require_finished_folds(run)
    if run.thresholds.is_file():
        read_rule(run.thresholds)
    world = init(expect_world=1)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {arguments.out}: {error.strerror}", "a writable directory", "give another") from error
    with (
        _exit_on_signals(),
        locks.hold(arguments.out / ".lock", str(arguments.out)),
        explain_out_of_memory(*LESS_MEMORY),
    ):
        predict(arguments, run, world)
    shutdown()


def predict(arguments: Arguments, run: RunDirectory, world: World) -> None:
    """Predict the images, write the results, and print how many files became predictions."""
    check_directory(arguments.out, arguments.outputs)
    for name in (SHARDS, *LISTS, *(file for file, _ in OUTPUTS.values())):
        remove_temporary_files(arguments.out, name)
    workers = arguments.workers or available_cores()
    # The images are in shards while they are predicted, where only this user can read them.
    with tempfile.TemporaryDirectory(
        prefix=temporary_prefix(SHARDS), dir=arguments.out, ignore_cleanup_errors=True
    ) as scratch:
        dataset = Path(scratch) / "dataset"
        try:
            manifest = build_dataset(arguments, dataset, workers)
        except NothingToPredictError:
            # Tables without a row: those of an earlier prediction would not belong to these lists.
            _publish_lists(arguments.out, _read_lists(dataset))
            empty = ShardReader(dataset, SampleTable.from_rows([]))
            OutputSet(arguments.out, arguments.outputs, empty).close()
            raise
        lists = _read_lists(dataset)
        table = SampleTable.read(dataset)
        for line in oddities.describe(table):
            log.warning("%s", line)
        with closing(ShardReader(dataset, table)) as reader:
            if not run.thresholds.is_file():
                with exclusive_locks([(run.lock, str(run.path))], world):
                    finish_run(run, world, reader, workers=workers)
            mean = build_mean(
                [run],
                reader=reader,
                world=world,
                workers=workers,
                loader=arguments.loader,
                precision=arguments.precision,
            )
            ensembler = Ensembler(mean, read_rule(run.thresholds), min_component=arguments.min_component)
            outputs = OutputSet(arguments.out, arguments.outputs, reader)
            predictions = ensembler.run(reader.table.select("test"), outputs.add)
    # The shards are deleted first: where pictures have filled the disk, the tables then have space.
    _publish_lists(arguments.out, lists)
    outputs.close()
    positive = sum(prediction.mask_area > 0 for prediction in predictions)
    log.info(
        "%s: positive are %d of %s; the rule: %s",
        arguments.out,
        positive,
        counted(len(predictions), "image"),
        ensembler.rule.describe(),
    )
    sys.stdout.write(
        f"{counted(manifest.found, 'file')} found = {manifest.samples} predicted + {manifest.quarantined} quarantined"
        f" + {manifest.left_out} left out + {manifest.merged_duplicates} merged duplicates\n"
    )


class NothingToPredictError(UserError):
    """No file found is an image to predict; the lists have the reasons."""


def build_dataset(arguments: Arguments, dataset: Path, workers: int) -> Manifest:
    """Build a dataset of the files given.

    Raises:
        NothingToPredictError: When there is nothing to predict.
    """
    try:
        manifest = build(
            BuildInputs(dicom=arguments.dicom, id=arguments.id),
            dataset,
            # The directory may hold files of any kind; every X-ray among them must be predicted.
            BuildOptions(
                workers=workers,
                max_quarantined=100,
                include_non_frontal=arguments.include_non_frontal,
                limits=arguments.limits,
            ),
        )
    except UserError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in RECOVERABLE_ERRNOS:
            # The dataset is in a hidden directory, which is gone when the message is read.
            raise UserError(
                f"--out {arguments.out}: {cause.strerror}",
                "free space for the images, and the permission to write there",
                "make space or give another --out, and start the same command again",
            ) from error
        if not (dataset / paths.QUARANTINE).is_file():
            raise
        lists = quarantine.describe_lists(dataset, "test", arguments.out)
        raise NothingToPredictError(error.found, "X-ray images in --dicom", lists or "check --dicom") from None
    assert manifest is not None
    return manifest


def _read_lists(dataset: Path) -> dict[str, str]:
    return {name: (dataset / name).read_text(encoding="utf-8") for name in LISTS}


def _publish_lists(out: Path, lists: Mapping[str, str]) -> None:
    for name, text in lists.items():
        publish_text(out / name, text)


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Turn signals that would end the process at once into an exit that removes the patients' images.

    A second signal must not interrupt the removal.
    """
    before = {number: signal.getsignal(number) for number in stop_signals()}

    def leave(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        log.warning("stopped by %s", signal.Signals(number).name)
        raise SystemExit(128 + number)

    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    cli.run(main)
