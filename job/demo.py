"""Run everything in minutes: synthetic chest X-rays, shards, two folds in parallel, a submission, a picture.

    ./launch.sh demo          or        python job/demo.py --out runs/demo

Runs the commands that a user would run, and fails when the network has not learned.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from pneumo.inference import metrics
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.console import log
from pneumo.runtime.errors import ExitCode, UserError
from pneumo.runtime.machine import available_cores
from pneumo.runtime.ranges import Seed
from pneumo.synthetic import dicom_tree

ROOT = Path(__file__).resolve().parent.parent
MIN_DICE_OVER_EMPTY = 0.10
"""Out-of-fold Dice above that of predicting all masks empty from which on the network counts as trained."""


@config_dataclass
class Arguments:
    """Flags of job/demo.py."""

    out: Path = ROOT / "runs" / "demo"
    """Run directory; the synthetic DICOMs and the dataset are in data/demo, beside the directory runs."""
    images: Annotated[int, Interval(ge=20, le=100_000)] = 240
    """Synthetic training images; fewer than 240 are too few to learn from."""
    test_images: Annotated[int, Interval(ge=1, le=100_000)] = 24
    """Synthetic test images."""
    fresh: bool = False
    """Delete an earlier demo first; otherwise it is resumed."""
    seed: Seed = 0
    """Seed of the synthetic images."""


def main() -> int:
    """Run the demo."""
    arguments = cli.parse(Arguments, sys.argv[1:], prog="job/demo.py", description=__doc__)
    data = arguments.out.parent.parent / "data" / arguments.out.name
    if arguments.fresh:
        remove_earlier_demo(arguments.out, known={"recipe.json"})
        remove_earlier_demo(data, known={"dicom", "dataset"})
    tree = dicom_tree.SyntheticTree(data / "dicom")
    if not tree.root.exists():
        dicom_tree.write_tree(
            tree.root,
            images=arguments.images,
            test_images=arguments.test_images,
            size=256,
            positive_fraction=0.45,
            seed=arguments.seed,
            workers=available_cores(),
        )
    dataset = data / "dataset"
    shard = ["--dicom", tree.dicom, "--test-dicom", tree.test_dicom, "--masks", tree.masks, "--patients", tree.patients]
    run_command(sys.executable, ROOT / "job" / "shard.py", *shard, "--out", dataset, "--num-folds", 2)
    train_folds(dataset, arguments.out)
    run_command(
        sys.executable, ROOT / "job" / "score.py",
        "--truth", tree.test_masks, "--submission", arguments.out / "submission.csv",
    )  # fmt: skip
    return check_learned(arguments.out, arguments.images)


def remove_earlier_demo(directory: Path, known: Collection[str]) -> None:
    """Delete a directory of an earlier demo.

    Args:
        directory: What to delete; it may be missing.
        known: Names of files and directories, at least one of which is in a demo's directory unless it is empty.

    Raises:
        UserError: When none of them is in the directory.
    """
    if not directory.exists():
        return
    if not directory.is_dir() or (any(directory.iterdir()) and not any((directory / name).exists() for name in known)):
        raise UserError(
            f"--fresh: {directory} holds no earlier demo", "one to delete", "give another --out, or omit --fresh"
        )
    shutil.rmtree(directory)


def train_folds(dataset: Path, run: Path) -> None:
    """Train two folds in parallel, or one after the other where there is only one core."""
    processes = min(2, available_cores())
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", 1, "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--num_processes", processes]
    # On a machine without GPUs too: accelerate's CPU mode would start a single process.
    launch += ["--multi_gpu"] if processes > 1 else []
    recipe = ["--recipe", "demo", "--expect-world", processes]
    run_command(*launch, ROOT / "job" / "train.py", "--dataset", dataset, "--run", run, *recipe)


def run_command(*words: object) -> None:
    """Run one command, and log it as a user would type it."""
    command = [str(word) for word in words]
    log.info("$ %s", " ".join(command).replace(f"{ROOT}{os.sep}", ""))
    code = subprocess.run(command, check=False).returncode
    if code:
        raise SystemExit(code)


def check_learned(run: Path, images: int) -> int:
    """Print the results, and compare the out-of-fold Dice with that of predicting all masks empty."""
    found = metrics.read(run / "metrics.json")
    dice, empty = found.nested.dice, found.dice_all_empty
    log.info("out-of-fold Dice %.4f, predicting all masks empty gives %.4f", dice, empty)
    log.info("submission: %s", run / "submission.csv")
    log.info("picture:    %s", run / "overlay.png")
    log.info("curves:     tensorboard --logdir %s", run.parent)
    if dice >= empty + MIN_DICE_OVER_EMPTY:
        return ExitCode.DONE
    if images < Arguments.images:
        log.warning("%d images are too few to learn from; the default is %d", images, Arguments.images)
        return ExitCode.DONE
    log.error(
        "the demo's out-of-fold Dice is %.4f; expected at least %.4f; this is a bug in pneumo or a wrong installation,"
        " please report it with the log",
        dice,
        empty + MIN_DICE_OVER_EMPTY,
    )
    return ExitCode.BUG


if __name__ == "__main__":
    cli.run(main)
