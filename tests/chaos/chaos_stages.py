"""The three stages as users start them, in the forms that give the same bytes, with their figures undisturbed."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import chaos_products
from chaos_processes import ONE, OTHER, TWO, Started

from pneumo.synthetic.dicom_tree import SyntheticTree

JOB = Path(__file__).resolve().parents[2] / "job"
LAUNCH = [*TWO, JOB / "launch.py", "--processes", 2]
RECIPE = ["--recipe", "debug", "--epochs", 2, "--image-size", 32, "--checkpoint-every", 3, "--rank-timeout", 60]
# Enough for masks other than everything and nothing, so that a wrong weight shows in the submission.
RECIPE += ["--learning-rate", 3e-3, "--ema-decay", 0.5]

Commands = list[list[object]]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command of the pipeline and the folder in which it works."""

    name: str
    forms: Sequence[Callable[[Path], Commands]]
    """Ways to start it, each a function of the folder; a build or a run may be taken up in another form."""
    prepare: Callable[[Path], None]
    """Puts into a new folder what the stages before have made."""
    went_on: str
    """What the command says when it takes up the work of one that was killed; empty = it says nothing."""
    takes_up: bool
    """Whether most of the work done before a kill is kept, so that it has to last for all kills."""


@dataclass(frozen=True)
class Pace:
    """What an undisturbed run of a stage takes, in seconds."""

    idle: float
    """Until the first change on disk."""
    work: float
    """From there to the end."""


def pipeline(tree: SyntheticTree, made: dict[str, Path]) -> list[Stage]:
    """Return the stages.

    Args:
        tree: The DICOMs.
        made: The folder in which each stage was done, by its name; looked up when a stage prepares.
    """
    inputs = ["--dicom", tree.dicom, "--test-dicom", tree.test_dicom, "--masks", tree.masks]
    inputs += ["--patients", tree.patients, "--num-folds", 2]

    def shard(folder: Path, task: str, workers: int) -> list[object]:
        own = ["--out", folder / "dataset", "--task", task, "--workers", workers]
        return [*TWO, JOB / "shard.py", *inputs, *own]

    def train(folder: Path, folds: Sequence[int]) -> list[object]:
        own = ["--dataset", made["shard"] / "dataset", "--run", folder / "run", "--folds", *folds]
        return [JOB / "train.py", *own, *RECIPE]

    def ensemble(folder: Path) -> list[object]:
        own = ["--dataset", made["shard"] / "dataset", "--runs", folder / "run", "--out", folder / "submission.csv"]
        return [JOB / "ensemble.py", *own]

    def bring_run(folder: Path) -> None:
        shutil.copytree(made["train"] / "run", folder / "run", ignore=shutil.ignore_patterns("checkpoints"))

    return [
        Stage(
            name="shard",
            forms=[
                lambda folder: [shard(folder, "0/1", 2)],
                lambda folder: [shard(folder, "0/2", 1), shard(folder, "1/2", 1)],
            ],
            prepare=lambda folder: None,
            went_on="images are already in shards",
            takes_up=False,
        ),
        Stage(
            name="train",
            forms=[
                lambda folder: [[*ONE, *train(folder, [0, 1])]],
                lambda folder: [[*LAUNCH, *train(folder, [0, 1])]],
                lambda folder: [[*core, *train(folder, [fold])] for fold, core in enumerate((ONE, OTHER))],
            ],
            prepare=lambda folder: None,
            went_on=" goes on from step-",
            takes_up=True,
        ),
        Stage(
            name="ensemble",
            forms=[lambda folder: [[*ONE, *ensemble(folder)]], lambda folder: [[*LAUNCH, *ensemble(folder)]]],
            prepare=bring_run,
            went_on="",
            takes_up=False,
        ),
    ]


def undisturbed(stage: Stage, folder: Path, scratch: Path) -> Pace:
    """Run a stage once in its first form, and return what it takes."""
    folder.mkdir(parents=True)
    stage.prepare(folder)
    before = chaos_products.tree(folder)
    began = time.monotonic()
    started = Started(stage.forms[0](folder), folder.parent / f"{stage.name}.log", scratch)
    started.wait(lambda: chaos_products.tree(folder) != before or started.is_over, stage.name)
    changed = time.monotonic()
    started.wait(lambda: started.is_over, stage.name)
    assert started.codes == [0], started.output
    return Pace(changed - began, time.monotonic() - changed)
