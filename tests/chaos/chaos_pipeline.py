"""The three commands of the pipeline as users start them, in the variants that give the same bytes."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import chaos_products
from chaos_processes import ONE, OTHER, TWO, RunningCommands

from pneumo.synthetic.tree import SyntheticTree

JOB = Path(__file__).resolve().parents[2] / "job"
LAUNCH = [*TWO, JOB / "launch.py", "--processes", 2]
RECIPE = ["--recipe", "debug", "--epochs", 3, "--image-size", 32, "--checkpoint-minutes", 0.001, "--rank-timeout", 60]
# Enough for masks that are neither full nor empty, so that a wrong weight shows in the submission.
RECIPE += ["--learning-rate", 3e-3, "--ema-decay", 0.5, "--model.decoder-channels", *[16] * 5]

CommandLines = list[list[object]]


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the pipeline and the directory that it writes to."""

    name: str
    variants: Sequence[Callable[[Path], CommandLines]]
    """Ways to start it, each a function of the directory; a build or a run may be resumed by another variant."""
    prepare: Callable[[Path], None]
    """Copies the results of the commands before into a new directory."""
    resume_message: str
    """Logged when the command resumes the work of one that was killed; empty = nothing is logged."""
    keeps_work: bool
    """Whether most of the work done before a kill is kept, so that the work has to last for all kills."""


@dataclass(frozen=True)
class Durations:
    """Durations of an uninterrupted run of a command, in seconds."""

    idle: float
    """Until the first change on disk."""
    work: float
    """From there to the end."""


def pipeline(tree: SyntheticTree, made: dict[str, Path]) -> list[Command]:
    """Return the commands of the pipeline.

    Args:
        tree: The DICOMs.
        made: The directory of each finished command, by its name; read when a later command prepares.
    """
    inputs = ["--dicom", tree.dicom, "--test-dicom", tree.test_dicom, "--masks", tree.masks]
    inputs += ["--patients", tree.patients, "--num-folds", 2]

    def shard(directory: Path, task: str, workers: int) -> list[object]:
        own = ["--out", directory / "dataset", "--task", task, "--workers", workers]
        return [*TWO, JOB / "shard.py", *inputs, *own]

    def train(directory: Path, folds: Sequence[int]) -> list[object]:
        own = ["--dataset", made["shard"] / "dataset", "--run", directory / "run", "--folds", *folds]
        return [JOB / "train.py", *own, *RECIPE]

    def ensemble(directory: Path) -> list[object]:
        own = [
            "--dataset",
            made["shard"] / "dataset",
            "--runs",
            directory / "run",
            "--out",
            directory / "submission.csv",
        ]
        return [JOB / "ensemble.py", *own]

    def bring_run(directory: Path) -> None:
        shutil.copytree(made["train"] / "run", directory / "run", ignore=shutil.ignore_patterns("checkpoints"))

    return [
        Command(
            name="shard",
            variants=[
                lambda directory: [shard(directory, "0/1", 2)],
                lambda directory: [shard(directory, "0/2", 1), shard(directory, "1/2", 1)],
            ],
            prepare=lambda directory: None,
            resume_message="resuming: already in shards are ",
            keeps_work=False,
        ),
        Command(
            name="train",
            variants=[
                lambda directory: [[*ONE, *train(directory, [0, 1])]],
                lambda directory: [[*LAUNCH, *train(directory, [0, 1])]],
                lambda directory: [[*core, *train(directory, [fold])] for fold, core in enumerate((ONE, OTHER))],
            ],
            prepare=lambda directory: None,
            resume_message=" resumes from step-",
            keeps_work=True,
        ),
        Command(
            name="ensemble",
            variants=[
                lambda directory: [[*ONE, *ensemble(directory)]],
                lambda directory: [[*LAUNCH, *ensemble(directory)]],
            ],
            prepare=bring_run,
            resume_message="",
            keeps_work=False,
        ),
    ]


def run_uninterrupted(command: Command, directory: Path, scratch: Path) -> Durations:
    """Run a command once in its first variant, and return how long it takes."""
    directory.mkdir(parents=True)
    command.prepare(directory)
    before = chaos_products.tree(directory)
    began = time.monotonic()
    started = RunningCommands(command.variants[0](directory), directory.parent / f"{command.name}.log", scratch)
    started.wait(lambda: chaos_products.tree(directory) != before or started.is_over, command.name)
    changed = time.monotonic()
    started.wait(lambda: started.is_over, command.name)
    assert started.codes == [0], started.output
    return Durations(changed - began, time.monotonic() - changed)
