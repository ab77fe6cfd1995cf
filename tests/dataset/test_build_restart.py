"""Builds that are killed, run out of memory or disk, or meet a file that ends its reader."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from build_data import OPTIONS, contents, rows, write_one
from waiting import LONG_S, wait_until

from pneumo.dataset import build as build_module
from pneumo.dataset import paths, shard_writer
from pneumo.dataset.build import build
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.options import BuildInputs
from pneumo.dataset.plan import ShardPlan
from pneumo.dataset.table import SampleTable
from pneumo.dataset.tar import TarWriter
from pneumo.runtime.errors import StartAgain, UserError
from pneumo.runtime.files import remove_temporary_files

KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from pneumo.dataset import build
from pneumo.dataset.limits import Limits
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.options import BuildInputs, BuildOptions

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Progress(build.Progress):
    def step(self, count=1, note=""):
        super().step(count, note)
        if self.what == "shards" and self.done >= 8:
            die()

if sys.argv[2] == "shards":
    build.Progress = Progress
else:
    Manifest.write = die
root = Path(sys.argv[1])
inputs = BuildInputs(
    dicom=root / "train", test_dicom=root / "test", masks=root / "masks.csv", patients=root / "patients.csv"
)
options = BuildOptions(workers=2, shard_size=4, num_folds=3, max_quarantined=10, limits=Limits(time_limit=10.0))
build.build(inputs, Path(sys.argv[3]), options)
"""


SITE = """
import os
from pneumo.dicom import image_file

def crash(function):
    def wrapper(path):
        if path.name.startswith("crash-in-" + function.__name__):
            os._exit(139)
        return function(path)
    return wrapper

image_file.scan, image_file.read = crash(image_file.scan), crash(image_file.read)
"""


SITE_OF_MEMORY = """
import os, signal
from pathlib import Path
from pneumo.dataset import shard_writer

write = shard_writer.write

def killed(dataset, options, crashing_files, shard):
    marks = len(list(Path("DIRECTORY").glob("death-*")))
    if shard.name == "train-000001" and marks < DEATHS:
        (Path("DIRECTORY") / f"death-{marks}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return write(dataset, options, crashing_files, shard)

killed.__module__, killed.__qualname__ = "pneumo.dataset.shard_writer", "write"
shard_writer.write = killed
"""
"""The kernel's out-of-memory killer ends the writer of one shard, whatever file it is reading."""


SITE_OF_HANGING = """
import ctypes
from pneumo.dicom import image_file

read = image_file.read

def hanging(path):
    if path.name.endswith(".498.5.dcm"):
        ctypes.PyDLL(None).sleep(100_000)
    return read(path)

image_file.read = hanging
"""
"""A decoder that never returns from one file, with the interpreter's lock held."""


@dataclass
class Ended:
    """A Python process that has ended, its children perhaps not."""

    code: int
    group: int
    output: str


def run_script(script: str, *arguments: object, path: Path | None = None) -> Ended:
    """Run Python code in a session of its own, with ``path`` before everything else on the module path."""
    before = [str(path)] if path else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*before, *filter(None, sys.path)])}
    # Not a pipe: reading one would wait for the children too.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        code = process.wait(LONG_S)
        output.seek(0)
        return Ended(code, process.pid, output.read())


def has_ended(group: int) -> bool:
    """Return whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("step", ["shards", "merge"])
def test_killed_build_resumes_to_the_same_bytes(built: Path, tree, tmp_path: Path, step: str) -> None:
    out = tmp_path / "out"
    ended = run_script(KILLED_AFTER, tree.inputs.dicom.parent, step, out)
    assert ended.code == -signal.SIGKILL, ended.output
    assert not paths.manifest(out).exists()
    done = {path: path.stat().st_mtime_ns for path in paths.build(out).glob("*-*.json")}
    assert len(done) >= 2
    # What a worker killed in the middle of a shard leaves behind.
    (paths.shards(out) / ".train-000003.tar.pneumo-tmp-x1_abc9z").write_bytes(b"half")
    with pytest.raises(UserError, match="not finished"):
        SampleTable.read(out)
    shards = {path: paths.tar(out, path.stem).stat().st_ino for path in done}
    build(tree.inputs, out, OPTIONS)
    assert contents(out) == contents(built)
    assert {path: paths.tar(out, path.stem).stat().st_ino for path in done} == shards, "finished shards were rewritten"


def test_workers_end_with_the_parent(tree, tmp_path: Path) -> None:
    group = run_script(KILLED_AFTER, tree.inputs.dicom.parent, "shards", tmp_path / "out").group
    wait_until(lambda: has_ended(group))


def test_only_the_file_that_ends_its_process_is_quarantined(copied_inputs: BuildInputs, tmp_path: Path) -> None:
    write_one(copied_inputs.dicom / "crash-in-scan.dcm", "1.9.1")
    write_one(copied_inputs.dicom / "crash-in-read.dcm", "1.9.2")
    with copied_inputs.masks.open("a") as file:
        file.write("1.9.2, -1\n")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    script = KILLED_AFTER.replace("Manifest.write = die", "pass")
    ended = run_script(script, copied_inputs.dicom.parent, "live", tmp_path / "out", path=tmp_path / "site")
    assert ended.code == 0, ended.output
    manifest = Manifest.read(tmp_path / "out")
    assert (manifest.found, manifest.samples, manifest.quarantined) == (31, 29, 2)
    quarantined = rows(tmp_path / "out" / paths.QUARANTINE)
    assert [row["file"] for row in quarantined] == ["crash-in-read.dcm", "crash-in-scan.dcm"]
    assert {row["found"] for row in quarantined} == {"the process that read it ended with exit code 139"}


def test_table_written_without_its_manifest_is_repaired(tree, tmp_path: Path, built: Path) -> None:
    out = shutil.copytree(built, tmp_path / "out")
    table = SampleTable.read(out)
    replace(table, fold=np.where(table.fold >= 0, 0, -1).astype(np.int8)).write(out)
    build(tree.inputs, out, OPTIONS)
    assert contents(out) == contents(built)


def test_full_disk_is_an_error_of_the_user(tmp_path: Path, tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SampleTable, "write", full)
    with pytest.raises(UserError, match=r"No space left on device.*start the same command again"):
        build(tree.inputs, tmp_path / "out", OPTIONS)
    monkeypatch.undo()
    assert build(tree.inputs, tmp_path / "out", OPTIONS) is not None


def test_shard_whose_process_dies_of_no_file_is_begun_again_and_then_an_error(tree, tmp_path: Path) -> None:
    script = KILLED_AFTER.replace("Manifest.write = die", "pass")
    for deaths in (2, 99):
        directory = tmp_path / str(deaths)
        directory.mkdir()
        site = SITE_OF_MEMORY.replace("DIRECTORY", str(directory)).replace("DEATHS", str(deaths))
        (directory / "sitecustomize.py").write_text(site)
        ended = run_script(script, tree.inputs.dicom.parent, "live", directory / "out", path=directory)
        if deaths == 2:
            assert ended.code == 0, ended.output
            assert Manifest.read(directory / "out").quarantined == 0
        else:
            assert ended.code == 1
            assert (
                "the process that wrote train-000001 died 3 times, although each of its files can be read"
                in ended.output
            )
            assert "try fewer workers" in ended.output


def test_killed_while_a_file_hangs_leaves_no_process_and_resumes(built: Path, tree, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE_OF_HANGING)
    out = tmp_path / "out"
    ended = run_script(KILLED_AFTER, tree.inputs.dicom.parent, "shards", out, path=tmp_path)
    assert ended.code == -signal.SIGKILL, ended.output
    wait_until(lambda: has_ended(ended.group))
    build(tree.inputs, out, OPTIONS)
    assert contents(out) == contents(built)


@pytest.mark.parametrize("content", ["{}", "", "[]", '{"digest": 5}', '{"digest": "a", "more": 1}'])
def test_a_damaged_record_of_the_input_is_refused(tree, tmp_path: Path, content: str) -> None:
    path = paths.plan(tmp_path / "out")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(
        UserError, match=r"plan\.json cannot be read \(.*\); expected the record of the input .*; remove"
    ):
        build(tree.inputs, tmp_path / "out", OPTIONS)


@pytest.mark.parametrize("is_absolute", [True, False])
def test_another_process_of_the_same_task_may_remove_what_this_one_writes(
    tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_absolute: bool
) -> None:
    out = tmp_path / "out"
    if not is_absolute:
        out = Path(os.path.relpath(out))

    def write(out: Path, shards: Sequence[ShardPlan], *_: object) -> None:
        for shard in shards:
            shard_writer.write(out, OPTIONS.conditions, {}, shard)

    # Here, where the other process can be put between the last byte of a tar and its rename.
    monkeypatch.setattr(build_module, "_write_shards", write)
    monkeypatch.setattr(TarWriter, "close", lambda _: remove_temporary_files(paths.shards(out)))
    with pytest.raises(StartAgain, match=r"another process has removed .*/out/.*\.tar\..*, which this one was writing"):
        build(tree.inputs, out, OPTIONS)
    monkeypatch.undo()
    build(tree.inputs, out, OPTIONS)
    assert len(SampleTable.read(out)) > 0


def test_a_missing_file_that_is_not_of_the_dataset_is_no_error_of_the_user(
    tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> None:
        (tmp_path / "elsewhere").read_bytes()

    monkeypatch.setattr(build_module, "_write_shards", write)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        build(tree.inputs, tmp_path / "out", OPTIONS)


@pytest.mark.parametrize("suffix", [".tar", ".idx"])
def test_a_finished_shard_whose_file_is_missing_is_written_again(
    built: Path, tree, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / "out"
    assert build(tree.inputs, out, replace(OPTIONS, task="0/2")) is None
    (paths.shards(out) / f"train-000002{suffix}").unlink()
    build(tree.inputs, out, OPTIONS)
    assert contents(out) == contents(built)
