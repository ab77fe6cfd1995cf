"""job/shard.py as a process, from its start to its end, at two sizes, and divided into tasks."""

import shutil
from functools import partial
from pathlib import Path

from pneumo.bench import processes
from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.many_files import multiply
from pneumo.bench.processes import Use
from pneumo.bench.scaling import growth
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.start import JOB, start
from pneumo.bench.timing import time_in_turns
from pneumo.dataset.options import BuildInputs

TASKS = 2
IMPORTS = "import pydantic.dataclasses, tyro, cv2, pydicom.pixels, simplejpeg, pyarrow.parquet, sklearn.model_selection"
"""What a build cannot do without."""
_CONVERTER = """
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import cv2, pydicom
source, target, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
target.mkdir()
def convert(path):
    assert cv2.imwrite(str(target / f"{path.stem}.png"), pydicom.dcmread(path).pixel_array)
with ProcessPoolExecutor(workers) as pool:
    for _ in pool.map(convert, sorted(source.rglob("*.dcm")), chunksize=8):
        pass
"""
"""The usual conversion as a script of its own, whose processes are copies of it and import nothing again."""


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Time the command on ``settings.shard_files`` files and on a tenth, and see what all of its processes take."""
    directory = source.directory / "shard-command"
    sizes = [settings.shard_files // 10, settings.shard_files]
    counts = {"few": 2, "small": sizes[0], "large": sizes[1]}
    few, small, large = (multiply(source.inputs, directory / name, count) for name, count in counts.items())
    bench = _Command(directory, settings.workers)
    works = [partial(start, *bench.words(inputs)) for inputs in (few, small, large)]
    works += [partial(start, *bench.converter(large)), partial(start, "-c", IMPORTS)]
    on_few, on_small, on_large, converter, imports = time_in_turns(works, settings.repeat, prepare=bench.prepare)
    what, files, per_image = f"job/shard.py, {settings.workers} processes", f"{sizes[-1]:,} files", 1000 / sizes[-1]
    used_small, used_large = bench.use(small), bench.use(large)
    return [
        per_item(
            "shard",
            f"{what}, {files}",
            f"pydicom + PNG, {settings.workers} processes",
            "ms/image",
            ours=on_large,
            theirs=converter,
            scale=per_image,
        ),
        per_item("shard", f"{what}, 2 files", "limit: import its libraries", "s", ours=on_few, theirs=imports, scale=1),
        growth("shard", what, "file", sizes, [on_small, on_large]),
        per_item(
            "shard",
            f"memory of {what}, {files}",
            f"the same, {sizes[0]:,} files",
            "MiB",
            ours=[used_large.peak_bytes],
            theirs=[used_small.peak_bytes],
            scale=2**-20,
        ),
        per_item(
            "shard",
            f"processor time of {TASKS} tasks, {files}",
            "limit: that of one command",
            "ms/image",
            ours=[bench.use_of_tasks(large)],
            theirs=[used_large.seconds],
            scale=per_image,
        ),
    ]


class _Command:
    """The command, and the conversion that it is compared with, with what they write in a directory."""

    def __init__(self, directory: Path, workers: int) -> None:
        self._out, self._png, self._workers = directory / "out", directory / "png", str(workers)

    def prepare(self) -> None:
        """Remove what they have written."""
        for made in (self._out, self._png):
            shutil.rmtree(made, ignore_errors=True)

    def words(self, inputs: BuildInputs, task: str = "0/1") -> list[str]:
        """Return the command's words behind Python's name."""
        assert inputs.masks is not None
        # Of two files each is a fold, whoever the patients are.
        return [
            *(str(JOB / "shard.py"), "--dicom", str(inputs.dicom), "--masks", str(inputs.masks), "--ignore-patient-id"),
            *("--out", str(self._out), "--num-folds", "2", "--workers", self._workers, "--task", task),
        ]

    def converter(self, inputs: BuildInputs) -> list[str]:
        """Return the conversion's words behind Python's name."""
        return ["-c", _CONVERTER, str(inputs.dicom), str(self._png), self._workers]

    def use(self, inputs: BuildInputs) -> Use:
        """Run the command; return what its processes took."""
        self.prepare()
        return processes.run(*self.words(inputs))

    def use_of_tasks(self, inputs: BuildInputs) -> float:
        """Run the command in tasks, one after another; return the seconds of processor time that all took."""
        self.prepare()
        return sum(processes.run(*self.words(inputs, f"{task}/{TASKS}")).seconds for task in range(TASKS))
