"""Failures around a run: each gives a clear message, loses nothing, and ends in the same bytes after a resume."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from job_commands import ALONE, JOB, LAUNCH, run, start, weights

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.merge import assign_folds
from pneumo.dataset.table import SampleTable

pytestmark = pytest.mark.slow

OWN_LAUNCH = [sys.executable, str(JOB / "launch.py"), "--processes", "2"]
SLOW = ["--recipe", "debug", "--epochs", "8", "--image-size", "32", "--checkpoint-every", "8"]
"""Eight epochs and eight steps between checkpoints, so that there is time for the failure."""


def same(directory: Path, other: Path) -> bool:
    """Return whether two runs have the same weights, masks, thresholds and submission."""
    files = ["fold-0/model.safetensors", "fold-1/model.safetensors", "oof.csv", "thresholds.json", "submission.csv"]
    return all((directory / name).read_bytes() == (other / name).read_bytes() for name in files)


def words(dataset: Path, directory: Path, *more: object) -> list[object]:
    return [JOB / "train.py", "--dataset", dataset, "--run", directory, *SLOW, *more]


@pytest.fixture(scope="module")
def slow(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A longer run without a failure."""
    directory = tmp_path_factory.mktemp("runs") / "slow"
    code, output = run(words(dataset, directory))
    assert code == 0, output
    return directory


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rank_of(directory: Path, rank: int) -> int:
    """Return the process id of a rank that trains into ``directory``."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (path / "cmdline").read_bytes(), (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        # The launcher has the same arguments, and no rank.
        if str(directory).encode() in command and f"RANK={rank}".encode() in environment:
            return int(path.name)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.parametrize(
    "launcher",
    [[*OWN_LAUNCH, "--restarts", "1"], [*LAUNCH, "--max_restarts", "1", "--monitor_interval", "0.2"]],
    ids=["launch.py", "accelerate"],
)
def test_a_killed_rank_is_restarted_and_the_run_resumes(
    slow: Path, dataset: Path, tmp_path: Path, launcher: list[str]
) -> None:
    directory = tmp_path / "run"
    process = start(words(dataset, directory, "--expect-world", 2), launcher=launcher)
    wait_for(lambda: list(directory.glob("fold-1/checkpoints/step-*")), process)
    os.kill(rank_of(directory, 1), signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "fold 1 resumes from step-" in output
    if launcher[: len(OWN_LAUNCH)] == OWN_LAUNCH:
        # The other fold was trained to its end, and the lost rank was reported, before the restart.
        before, _, _ = output.partition("restarting the ranks (1 of 1)")
        assert "fold 0 is finished" in before
        assert "[rank 0] ERROR rank 1 no longer responds" in before
        assert "fold 0 resumes" not in output
    assert same(directory, slow)


def test_two_machines_restart_when_one_of_them_loses_its_rank(slow: Path, dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    node = [*ALONE, JOB / "launch.py", "--processes", "1", "--nodes", "2", "--restarts", "2"]
    node += ["--master", f"127.0.0.1:{port}", "--node-rank"]
    first, second = (start(words(dataset, directory), launcher=[*map(str, node), str(rank)]) for rank in (0, 1))
    wait_for(lambda: list(directory.glob("fold-1/checkpoints/step-*")), first)
    os.kill(rank_of(directory, 1), signal.SIGKILL)
    outputs = [process.communicate(timeout=200)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "restarting the ranks" in outputs[0]
    assert "restarting the ranks" in outputs[1]
    assert same(directory, slow)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 3), (signal.SIGINT, 3)])
def test_two_ranks_of_one_fold_stop_together_and_one_resumes(
    slow: Path, dataset: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    directory = tmp_path / "run"
    process = start(words(dataset, directory, "--folds", 0), launcher=OWN_LAUNCH)
    wait_for(lambda: list(directory.glob("fold-0/checkpoints/step-*")), process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == code, output
    assert not (directory / "fold-0" / "fold.json").exists()
    # Another number of ranks: the same samples in the same order, and the same weights within rounding.
    code, output = run(words(dataset, directory, "--folds", 0))
    assert code == 0, output
    assert "fold 0 resumes from step-" in output
    resumed, single = (safetensors.torch.load(weights(f)) for f in (directory, slow))
    for name, tensor in single.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-2, atol=2e-3, msg=name)


def test_a_second_job_on_the_same_run_is_refused(slow: Path, dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    first = start(words(dataset, directory))
    wait_for((directory / "fold-0" / ".lock").exists, first)
    # Suspended meanwhile: the second process waits for the lock for a while before it is refused.
    first.send_signal(signal.SIGSTOP)
    code, output = run(words(dataset, directory), launcher=OWN_LAUNCH)
    first.send_signal(signal.SIGCONT)
    assert code == 2, output
    assert re.search(rf"another process works on fold 0 of {directory} \(process {first.pid} on .*since", output)
    assert "Traceback" not in output
    output, _ = first.communicate(timeout=100)
    assert first.returncode == 0, output
    assert same(directory, slow)
    assert not list(directory.rglob(".lock"))


def test_the_ensembler_combines_folds_that_were_trained_separately(slow: Path, dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    ensemble = [JOB / "ensemble.py", "--runs", directory, "--dataset", dataset, "--out", directory / "submission.csv"]
    code, output = run(words(dataset, directory, "--folds", 1))
    assert code == 0, output
    assert "fold(s) 0 are still to be trained" in output
    for more, expected, text in [([], 2, "no finished fold 0"), (["--wait", 1], 3, "fold 0 of")]:
        code, output = run([*ensemble, *more])
        assert code == expected, output
        assert text in output
    waiting = start([*ensemble, "--wait", 100])
    output = train_fold(dataset, directory, 0)
    assert "all folds are trained; then job/ensemble.py" in output
    output, _ = waiting.communicate(timeout=100)
    assert waiting.returncode == 0, output
    assert same(directory, slow)


def train_fold(dataset: Path, directory: Path, fold: int) -> str:
    code, output = run(words(dataset, directory, "--folds", fold))
    assert code == 0, output
    return output


def mount(*options: object) -> None:
    subprocess.run(["mount", *map(str, options)], check=True)


def test_a_full_disk_stops_the_run_and_loses_nothing(slow: Path, dataset: Path, small_disk: Path) -> None:
    directory = small_disk / "run"
    process = start(words(dataset, directory))
    wait_for(lambda: list(directory.glob("fold-0/checkpoints/step-*")), process)
    with (small_disk / "ballast").open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 2, output
    assert "No space left on device; expected free space" in output
    assert "Traceback" not in output
    kept = list(directory.glob("fold-*/checkpoints/step-*"))
    assert kept
    (small_disk / "ballast").unlink()
    code, output = run(words(dataset, directory))
    assert code == 0, output
    assert "resumes from step-" in output
    assert same(directory, slow)


def test_a_mount_that_turns_read_only_stops_the_run(slow: Path, dataset: Path, small_disk: Path) -> None:
    directory = small_disk / "run"
    process = start(words(dataset, directory))
    wait_for(lambda: list(directory.glob("fold-0/checkpoints/step-*")), process)
    # A read-only bind mount over it: the file system itself cannot be remounted while the event file is open.
    process.send_signal(signal.SIGSTOP)
    mount("--bind", small_disk, small_disk)
    mount("-o", "remount,bind,ro", small_disk)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 2, output
    assert "Read-only file system; expected a writable file system" in output
    assert "Traceback" not in output
    code, output = run(words(dataset, directory))
    assert code == 2, output
    assert "Read-only file system" in output
    subprocess.run(["umount", "-l", small_disk], check=True)
    code, output = run(words(dataset, directory))
    assert code == 0, output
    assert same(directory, slow)


def test_a_mount_that_vanishes_stops_the_run_and_nothing_is_written_in_its_place(
    slow: Path, dataset: Path, small_disk: Path, tmp_path: Path
) -> None:
    directory = small_disk / "run"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    process = start(words(dataset, directory))
    wait_for(lambda: list(directory.glob("fold-0/checkpoints/step-*")), process)
    mount("--move", small_disk, elsewhere)
    try:
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 2, output
        assert "recipe.json was there when training started and is missing now" in output
        assert "Traceback" not in output
        assert not list(small_disk.rglob("*")), "written where the mount was"
        code, output = run([*words(dataset, elsewhere / "run")])
        assert code == 0, output
        assert same(elsewhere / "run", slow)
    finally:
        subprocess.run(["umount", "-l", elsewhere], check=False)


def test_a_dataset_changed_under_a_run_is_found(slow: Path, dataset: Path, tmp_path: Path) -> None:
    copy, directory = tmp_path / "dataset", tmp_path / "run"
    shutil.copytree(dataset, copy)
    process = start(words(copy, directory))
    wait_for(lambda: list(directory.glob("fold-0/checkpoints/step-*")), process)
    shard = next((copy / "shards").glob("train-*.tar"))
    os.truncate(shard, 4096)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 2, output
    assert re.search(rf"image \S+ in shards/{shard.name} of {copy}: the shard ends at byte 4096", output)
    assert "Traceback" not in output
    # With the shard restored, it resumes; with other folds it is another dataset.
    shutil.copy(dataset / "shards" / shard.name, shard)
    code, output = run(words(copy, directory))
    assert code == 0, output
    assert same(directory, slow)
    assign_folds(copy, SampleTable.read(copy), Manifest.read(copy), folds=2, seed=1)
    code, output = run(words(copy, directory))
    assert code == 2, output
    assert "another dataset or other folds (folds_digest" in output


def test_a_damaged_checkpoint_is_found_and_the_one_before_it_used(slow: Path, dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = start(words(dataset, directory))
    wait_for(lambda: len(list(directory.glob("fold-0/checkpoints/step-*"))) == 2, process)
    process.kill()
    process.communicate()
    older, newer = sorted(directory.glob("fold-0/checkpoints/step-*"))
    damaged = newer / "optimizer.pt"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    code, output = run(words(dataset, directory))
    assert code == 0, output
    assert f"checkpoint {newer} is damaged (optimizer.pt does not have the expected SHA-256)" in output
    assert f"fold 0 resumes from {older.name}" in output
    assert same(directory, slow)


CLOCK = """
import random, time
_real, _rng = time.time, random.Random(7)
time.time = lambda: _real() + _rng.choice([-1, 1]) * _rng.uniform(0, 10 * 365 * 86400)
"""


def test_a_clock_that_jumps_years_back_and_forth_changes_nothing(slow: Path, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    jumpy = ["env", f"PYTHONPATH={tmp_path}", *ALONE]
    probe = "import time; a = [time.time() for _ in range(99)]; print(any(x > y for x, y in zip(a, a[1:])))"
    assert run(["-c", probe], launcher=jumpy) == (0, "True\n")
    directory = tmp_path / "run"
    process = start(words(dataset, directory, "--rank-timeout", 60), launcher=jumpy)
    wait_for(lambda: list(directory.glob("fold-0/checkpoints/step-*")), process)
    process.kill()
    process.communicate()
    code, output = run(words(dataset, directory, "--rank-timeout", 60), launcher=jumpy)
    assert code == 0, output
    assert "resumes from step-" in output
    assert same(directory, slow)
