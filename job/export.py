"""Export a finished run into a directory that is all that is needed to use it elsewhere.

    python job/export.py --run runs/NAME --dataset DATASET --out MODEL

Writes into MODEL:
    model_card.md        what it is for, what it was trained on, how good it is, how to use it
    fold-K.safetensors   the weights of each fold
    thresholds.json      the decision rule
    metrics.json         the out-of-fold metrics
    model.onnx           the mean of all networks, for other programs; with model.onnx.data beside it above 1.9 GB
    model.json           recipe and versions, and the size and SHA-256 of every other file

Nothing in it is about a single image, and nothing in it is code. job/predict.py --run MODEL predicts with it as with
the run. --dataset is the one that the run was trained on: for scores by sex, age, view and pixel spacing, and to
compare model.onnx with torch on its images. Without it the model card lacks these scores, and the images are made up.
The directory appears as a whole or not at all; one that holds something is refused. The same run gives the same bytes.
Not for clinical use.

Exit codes: 0 done, 2 wrong input, or a run that is not finished.
"""

import sys
from dataclasses import field
from pathlib import Path

from pneumo.runtime import cli, log_file
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags


@config_dataclass
class Arguments:
    """Flags of job/export.py."""

    run: Path
    """Run directory whose folds are all trained."""
    out: Path
    """Directory to make; one that holds something is refused."""
    dataset: Path | None = None
    """Dataset that the run was trained on: for scores of subgroups, and real images to compare model.onnx on."""
    onnx: bool = True
    """Whether to write model.onnx."""
    verbosity: VerbosityFlags = field(default_factory=Verbosity)


def main() -> None:
    """Export."""
    arguments = cli.parse(Arguments, sys.argv[1:], prog="job/export.py", description=__doc__)
    with cli.slow_imports():
        from pneumo.dataset.shard_reader import ShardReader
        from pneumo.dataset.table import SampleTable
        from pneumo.training import run_directory
        from pneumo.training.export import export_run

    check_apart("--out", arguments.out, {"--run": arguments.run, "--dataset": arguments.dataset})
    run = run_directory.load(arguments.run)
    log_file.start(run.path, "export", only_reads=True)
    reader = None
    if arguments.dataset is not None:
        reader = ShardReader(arguments.dataset, SampleTable.read(arguments.dataset))
    export_run(run, arguments.out, reader=reader, onnx=arguments.onnx)
    sys.stdout.write(f"wrote {arguments.out}; begin with {arguments.out / 'model_card.md'}\n")


if __name__ == "__main__":
    cli.run(main)
