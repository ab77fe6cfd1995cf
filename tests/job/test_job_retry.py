"""job/shard.py is started again when a storage fault is over, or with another limit: the files are there then."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_files import GOOD, ROOT, good
from job_commands import JOB
from waiting import LONG_S

from pneumo.dataset import paths, quarantine

SITE = """
import errno, os, time
from pathlib import Path
from pneumo.dicom import image_file
from pneumo.dicom.opening import open_file

read = image_file.read

def faulty(path):
    if path.name == "slow.dcm":
        end = time.process_time() + 2
        while time.process_time() < end:
            pass
    if Path("fault").exists():
        if path.name == "crash.dcm":
            os._exit(139)
        if path.name == "unreadable.dcm":
            with open_file(path):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
    return read(path)

image_file.read = faulty
"""
"""A file that takes two seconds of processor time; two that cannot be read while the storage has a fault."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for split, names in {"train": ["slow"], "test": ["crash", "unreadable"]}.items():
        (tmp_path / split).mkdir()
        numbers = range(GOOD) if split == "train" else range(GOOD, GOOD + 4)
        for number, name in zip(numbers, [*names, *map(str, numbers)], strict=False):
            good(number)(tmp_path / split / f"{name}.dcm")
    masks = ["ImageId,EncodedPixels", *(f"{ROOT}.{n},{'-1' if n % 2 else '0 40'}" for n in range(GOOD))]
    (tmp_path / "masks.csv").write_text("\n".join(masks) + "\n")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    return tmp_path


@pytest.fixture
def shard(place: Path) -> Callable[..., tuple[int, str]]:
    def shard(*words: object, out: str = "out") -> tuple[int, str]:
        command = [JOB / "shard.py", "--dicom", "train", "--test-dicom", "test", "--masks", "masks.csv", "--out", out]
        command += ["--num-folds", 2, "--workers", 2, *words]
        path = os.pathsep.join([str(place / "site"), *filter(None, sys.path)])
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=os.environ | {"PYTHONPATH": path}, cwd=place,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LONG_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    return shard


@pytest.mark.slow
def test_what_could_not_be_read_is_read_by_the_same_command_and_what_took_too_long_with_a_higher_limit(
    place: Path, shard: Callable[..., tuple[int, str]]
) -> None:
    (place / "fault").touch()
    code, output = shard("--time-limit", 1)
    assert code == 2, output
    assert quarantine.count_reasons(place / "out") == {"took_too_long": 1, "crashed": 1, "unreadable": 1}
    tars = {split: paths.tar(place / "out", f"{split}-000000") for split in ("train", "test")}
    before = {split: tar.stat().st_ino for split, tar in tars.items()}

    (place / "fault").unlink()
    code, output = shard("--time-limit", 1)
    assert code == 2, output
    assert "writing 1 shard again, with files that may be readable now" in output
    assert quarantine.count_reasons(place / "out") == {"took_too_long": 1}
    assert tars["train"].stat().st_ino == before["train"], "written again although its file would take as long"

    code, output = shard("--time-limit", 60)
    assert code == 0, output
    assert "writing 1 shard again" in output
    assert "16 files found = 16 samples + 0 quarantined" in output

    code, output = shard(out="undisturbed")
    assert code == 0, output
    for name in ("train-000000.tar", "test-000000.tar"):
        assert (place / "out/shards" / name).read_bytes() == (place / "undisturbed/shards" / name).read_bytes()
    assert (place / "out" / paths.SAMPLES).read_bytes() == (place / "undisturbed" / paths.SAMPLES).read_bytes()


def test_a_finished_dataset_is_kept_with_a_warning_that_names_what_may_be_over(
    place: Path, shard: Callable[..., tuple[int, str]]
) -> None:
    (place / "fault").touch()
    assert shard("--max-quarantined", 20)[0] == 0
    (place / "fault").unlink()

    def files() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in (place / "out").rglob("*") if path.parent.name != "logs"}

    before = files()
    code, output = shard("--max-quarantined", 20)
    assert code == 0, output
    assert "quarantined for what may be over: 2 files (1 unreadable, 1 crashed); tried again with another" in output
    assert files() == before
