"""Run everything in minutes: synthetic chest X-rays, shards, two folds in parallel, a submission, a picture.

    ./launch.sh demo
    python job/demo.py --out runs/demo     # the same, in an environment of your own

Runs the commands that a user would run, and fails when the network has not learned.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from pneumo.dataset.manifest import Manifest
from pneumo.distributed.stopping import exiting_on_signals
from pneumo.runtime import cli, documents
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log
from pneumo.runtime.errors import ExitCode, UserError, counted, list_some
from pneumo.runtime.files import is_temporary, publish_text
from pneumo.runtime.machine import available_cores
from pneumo.runtime.ranges import Seed
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags
from pneumo.synthetic.tree import SyntheticTree
from pneumo.training import run_directory

ROOT = Path(__file__).resolve().parent.parent
RECIPE = "demo"
MARKER, DICOM, DATASET = "demo.json", "dicom", "dataset"
"""In the directory of the data; only a directory whose first is the demo's own record is ever deleted."""
RECORDED = ("images", "test-images", "seed")
"""What the record holds: the flags that decide which images are made."""
MIN_DICE_OVER_EMPTY = 0.10
"""Out-of-fold Dice above that of predicting all masks empty from which on the network counts as trained."""


@config_dataclass
class Arguments:
    """Flags of job/demo.py."""

    out: Path = ROOT / "runs" / "demo"
    """Run directory RUN. The synthetic DICOMs and the dataset are in RUN-data; those of runs/NAME are in data/NAME."""
    images: Annotated[int, Interval(ge=20, le=100_000)] = 240
    """Synthetic training images; fewer than 240 are too few to learn from."""
    test_images: Annotated[int, Interval(ge=1, le=100_000)] = 24
    """Synthetic test images."""
    fresh: bool = False
    """Delete an earlier demo first; otherwise it is resumed, if it was asked for the same images."""
    seed: Seed = 0
    """Seed of the synthetic images."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)


def main() -> int:
    """Run the demo."""
    arguments = cli.parse(Arguments, sys.argv[1:], prog="job/demo.py", description=__doc__)
    with exiting_on_signals():
        return demonstrate(arguments)


def demonstrate(arguments: Arguments) -> int:
    """Make the images, run the commands, and return the exit code."""
    data = data_directory(arguments.out)
    if arguments.fresh:
        remove_earlier_demo(arguments.out, data)
    elif why := why_no_demo_data(data):
        raise UserError(f"{data} {why}", "a directory for the demo's data", "give another --out")
    images = dict(zip(RECORDED, (arguments.images, arguments.test_images, arguments.seed), strict=True))
    check_same_images(data, images)
    log.info("run: %s, synthetic DICOMs and dataset: %s", arguments.out, data)
    # Before anything else: what an interrupted demo leaves can be deleted, too.
    publish_text(data / MARKER, json.dumps(images) + "\n")
    tree = SyntheticTree(data / DICOM)
    if not tree.root.exists():
        from pneumo.synthetic import dicom_tree  # slow to import

        dicom_tree.write_tree(
            tree.root,
            images=arguments.images,
            test_images=arguments.test_images,
            size=256,
            positive_fraction=0.45,
            seed=arguments.seed,
            workers=available_cores(),
        )
    dataset = data / DATASET
    shard = ["--dicom", tree.dicom, "--test-dicom", tree.test_dicom, "--masks", tree.masks, "--patients", tree.patients]
    run_command(sys.executable, ROOT / "job" / "shard.py", *shard, "--out", dataset, "--num-folds", 2)
    train_folds(dataset, arguments.out)
    run_command(
        sys.executable, ROOT / "job" / "score.py",
        "--truth", tree.test_masks, "--submission", run_directory.load(arguments.out).submission,
    )  # fmt: skip
    return check_learned(arguments.out, arguments.images)


def data_directory(run: Path) -> Path:
    """Return where the data of a run go: beside the run, or beside a directory "runs" as this project's own do."""
    parent = run.absolute().parent
    return parent.parent / "data" / run.name if parent.name == "runs" else parent / f"{run.name}-data"


def remove_earlier_demo(run: Path, data: Path) -> None:
    """Delete the directories of an earlier demo, which may be missing.

    Raises:
        UserError: When one of them is not, or not only, a demo's.
    """
    for directory, found in ((run, why_no_demo_run(run, data)), (data, why_no_demo_data(data))):
        if why := "is a link" if directory.is_symlink() else found:
            raise UserError(
                f"--fresh: {directory} {why}", "an earlier demo to delete", "give another --out, or delete it yourself"
            )
    for directory in (run, data):
        if directory.exists():
            shutil.rmtree(directory)


def why_no_demo_run(run: Path, data: Path) -> str:
    """Return what tells a directory from a demo's run, "" for a demo's run, and for one that is missing or empty."""
    if not run.exists():
        return ""
    if not run.is_dir():
        return "is no directory"
    if {entry.name for entry in run.iterdir()} <= {run_directory.LOCK_FILE}:
        return ""
    try:
        found, manifest = run_directory.load(run), Manifest.read(data / DATASET)
    except UserError as error:
        return f"holds no run of the demo ({error.found})"
    if found.is_in_use:
        return "holds a run that another process is at work on"
    if found.recipe.name != RECIPE:
        return f"holds a run of the recipe {found.recipe.name}"
    if found.dataset.digest != manifest.samples_digest:
        return f"holds a run on another dataset than {data / DATASET}"
    foreign = run_directory.foreign_files(run)
    return f"holds other files too: {list_some(map(str, foreign))}" if foreign else ""


def why_no_demo_data(data: Path) -> str:
    """Return what tells a directory from a demo's data, "" for a demo's data, and for one that is missing or empty."""
    if not data.exists():
        return ""
    if not data.is_dir():
        return "is no directory"
    tree = SyntheticTree(data / DICOM)
    # A demo that was killed leaves temporary files.
    found = [path for path in data.iterdir() if not is_temporary(path)]
    names = {path.name for path in found}
    if names and MARKER not in names:
        return f"holds no data of the demo (no {MARKER})"
    if names and read_record(data) is None:
        return f"holds no data of the demo ({MARKER} was not written by it)"
    own = {data / MARKER, tree.root, data / DATASET}
    own |= {tree.dicom, tree.test_dicom, tree.masks, tree.patients, tree.test_masks}
    entries = [*found, *(tree.root.iterdir() if tree.root.is_dir() else [])]
    foreign = sorted(str(path.relative_to(data)) for path in entries if path not in own and not is_temporary(path))
    return f"holds other files too: {list_some(foreign)}" if foreign else ""


def read_record(data: Path) -> dict[str, int] | None:
    """Return what the demo has recorded of its images; None for a file that another program wrote, or a damaged one."""
    try:
        found = documents.read(data / MARKER)
    except (OSError, ValueError):
        return None
    # Earlier versions did not record the test images.
    is_own = {"images", "seed"} <= found.keys() <= set(RECORDED) and all(type(value) is int for value in found.values())
    return found if is_own else None


def check_same_images(data: Path, asked: Mapping[str, int]) -> None:
    """Refuse to resume an earlier demo that was asked for other images: it would go on with those that it has.

    Args:
        data: Directory of the demo's data, which may be missing.
        asked: The flags that decide which images are made, without their dashes, and their values.

    Raises:
        UserError: Naming the flags that differ.
    """
    earlier = read_record(data) if (data / DICOM).exists() else None
    others = [flag for flag, value in asked.items() if earlier and earlier.get(flag, value) != value]
    if earlier and others:
        raise UserError(
            f"the demo in {data} has {', '.join(f'--{flag} {earlier[flag]}' for flag in others)}",
            ", ".join(f"--{flag} {asked[flag]}" for flag in others),
            "give --fresh to delete it and start again, its own flags to resume it, or another --out",
        )


def train_folds(dataset: Path, run: Path) -> None:
    """Train two folds in parallel, or one after the other where there is only one core."""
    processes = min(2, available_cores())
    # -P: with -m alone Python would import from the current directory first.
    launch = [sys.executable, "-P", "-m", "accelerate.commands.launch", "--num_machines", 1, "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--num_processes", processes]
    # On a machine without GPUs too: accelerate's CPU mode would start a single process.
    launch += ["--multi_gpu"] if processes > 1 else []
    recipe = ["--recipe", RECIPE, "--expect-world", processes]
    run_command(*launch, ROOT / "job" / "train.py", "--dataset", dataset, "--run", run, *recipe)


def run_command(*words: object) -> None:
    """Run one command, and log it as a user would type it."""
    command = [str(word) for word in words]
    log.info("$ %s", " ".join(command).replace(f"{ROOT}{os.sep}", ""))
    process = subprocess.Popen(command)
    try:
        code = process.wait()
    except BaseException:
        # Not killed: a launcher has to end its ranks.
        process.terminate()
        process.wait()
        raise
    if code:
        raise SystemExit(code)


def check_learned(run: Path, images: int) -> int:
    """Print the results, and compare the out-of-fold Dice with that of predicting all masks empty."""
    from pneumo.inference import metrics  # slow to import

    directory = run_directory.load(run)
    found = metrics.read(directory.metrics)
    dice, empty = found.nested.dice, found.dice_all_empty
    log.info("out-of-fold Dice %.4f, predicting all masks empty gives %.4f", dice, empty)
    log.info("submission: %s", directory.submission)
    log.info("picture:    %s", directory.overlay)
    log.info("report:     %s", directory.report)
    log.info("curves:     tensorboard --logdir %s", run.parent)
    if dice >= empty + MIN_DICE_OVER_EMPTY:
        return ExitCode.DONE
    if images < Arguments.images:
        log.warning("%s: too few to learn from; the default is %d", counted(images, "image"), Arguments.images)
        return ExitCode.DONE
    log.error(
        "the demo's out-of-fold Dice is %.4f; expected at least %.4f; this is a bug in pneumo or a wrong installation,"
        " please report it with the log",
        dice,
        empty + MIN_DICE_OVER_EMPTY,
    )
    return ExitCode.BUG


if __name__ == "__main__":
    cli.run(main, resumes=True)
