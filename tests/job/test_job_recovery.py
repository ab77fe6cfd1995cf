"""Failures around a run: each gives a clear message, loses nothing, and ends in the same bytes after a resume."""

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch
from job_commands import (
    COLD,
    FIRST,
    INTERRUPTION,
    JOB,
    RECIPE,
    accelerate,
    interrupted,
    launch,
    run,
    start,
    train,
    weights,
)
from waiting import LONG_S, wait_until

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.merge import assign_folds
from pneumo.dataset.table import SampleTable

pytestmark = pytest.mark.slow


def same(directory: Path, other: Path) -> bool:
    """Return whether two runs have the same weights, masks, thresholds and submission."""
    files = ["fold-0/model.safetensors", "fold-1/model.safetensors", "oof.csv", "thresholds.json", "submission.csv"]
    return all((directory / name).read_bytes() == (other / name).read_bytes() for name in files)


def words(dataset: Path, directory: Path, *more: object) -> list[object]:
    return [JOB / "train.py", "--dataset", dataset, "--run", directory, *RECIPE, *more]


@pytest.mark.parametrize("launcher", ["launch.py", "accelerate"])
def test_a_killed_rank_is_restarted_and_the_run_resumes(
    alone: Path, dataset: Path, tmp_path: Path, launcher: str
) -> None:
    directory = tmp_path / "run"
    launching = {
        "launch.py": [*launch(2), "--restarts", "1"],
        "accelerate": [*accelerate(), "--max_restarts", "1", "--monitor_interval", "0.2"],
    }[launcher]
    killed = interrupted(tmp_path / "at", FIRST.format(1), signal.SIGKILL, rank="1", launcher=launching)
    code, output = run(words(dataset, directory, "--expect-world", 2), launcher=killed)
    assert code == 0, output
    assert "fold 1 resumes from step-" in output
    if launcher == "launch.py":
        # The other fold was trained to its end, and the lost rank was reported, before the restart.
        before, _, _ = output.partition("restarting the ranks (1 of 1)")
        assert "fold 0 is finished" in before
        assert "[rank 0] ERROR rank 1 no longer responds" in before
        assert "fold 0 resumes" not in output
    assert same(directory, alone)


def test_two_machines_restart_when_one_of_them_loses_its_rank(alone: Path, dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    node = [*launch(1), "--nodes", "2", "--restarts", "2", "--master", f"127.0.0.1:{port}", "--node-rank"]
    killed = interrupted(tmp_path / "at", FIRST.format(1), signal.SIGKILL, rank="1", launcher=node)
    first, second = (start(words(dataset, directory), launcher=[*killed, str(rank)]) for rank in (0, 1))
    outputs = [process.communicate(timeout=LONG_S)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "restarting the ranks" in outputs[0]
    assert "restarting the ranks" in outputs[1]
    assert same(directory, alone)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 3), (signal.SIGINT, 3)])
def test_two_ranks_of_one_fold_stop_together_and_one_resumes(
    alone: Path, dataset: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    directory = tmp_path / "run"
    # The launcher's signal reaches rank 0 while it saves, and rank 1, which waits for it.
    at = tmp_path / "at"
    stopped = interrupted(at, FIRST.format(0), "signal", rank="0", launcher=launch(2))
    process = start(words(dataset, directory, "--folds", 0), launcher=stopped)
    wait_until((at / "reached").exists, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == code, output
    assert not (directory / "fold-0" / "fold.json").exists()
    # Another number of ranks: the same samples in the same order, and the same weights within rounding.
    code, output = run(words(dataset, directory, "--folds", 0))
    assert code == 0, output
    assert "fold 0 resumes from step-" in output
    resumed, single = (safetensors.torch.load(weights(f)) for f in (directory, alone))
    for name, tensor in single.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-2, atol=2e-3, msg=name)


def test_a_second_job_on_the_same_run_is_refused(alone: Path, dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    # It waits meanwhile: the second process waits for the lock for a while before it is refused.
    at = tmp_path / "at"
    first = start(words(dataset, directory), launcher=interrupted(at, FIRST.format(0), "go", launcher=COLD))
    wait_until((at / "reached").exists, first)
    code, output = run(words(dataset, directory), launcher=launch(2))
    (at / "go").touch()
    assert code == 2, output
    assert re.search(rf"another process works on fold 0 of {directory} \(process {first.pid} on .*since", output)
    assert "Traceback" not in output
    output, _ = first.communicate(timeout=LONG_S)
    assert first.returncode == 0, output
    assert same(directory, alone)
    assert not list(directory.rglob(".lock"))


def test_the_ensembler_combines_folds_that_were_trained_separately(alone: Path, dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    ensemble = [JOB / "ensemble.py", "--runs", directory, "--dataset", dataset, "--out", directory / "submission.csv"]
    code, output = run(words(dataset, directory, "--folds", 1))
    assert code == 0, output
    assert "still to be trained: fold 0;" in output
    for more, expected, text in [([], 2, "no finished fold 0"), (["--wait", 1], 3, "fold 0 of")]:
        code, output = run([*ensemble, *more])
        assert code == expected, output
        assert text in output
    waiting = start([*ensemble, "--wait", LONG_S])
    output = train(dataset, directory, "--folds", 0)
    shown = f"--runs {directory} --dataset {dataset} --out {directory}/submission.csv"
    assert f"all folds are trained; then job/ensemble.py {shown} writes the metrics and the submission" in output
    output, _ = waiting.communicate(timeout=LONG_S)
    assert waiting.returncode == 0, output
    assert same(directory, alone)
    assert f"wrote {directory}/report.html: open it in a browser" in output
    assert "Not finished" not in (directory / "report.html").read_text()


def mount(*options: object) -> None:
    subprocess.run(["mount", *map(str, options)], check=True)


def test_a_full_disk_stops_the_run_and_loses_nothing(
    alone: Path, dataset: Path, small_disk: Path, tmp_path: Path
) -> None:
    directory = small_disk / "run"
    at = tmp_path / "at"
    process = start(words(dataset, directory), launcher=interrupted(at, FIRST.format(0), "go"))
    wait_until((at / "reached").exists, process)
    # Without a buffer, whose rest would be written, and fail, again when the file is closed.
    with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(1 << 16))
    (at / "go").touch()
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 2, output
    assert "No space left on device; expected free space" in output
    assert "Traceback" not in output
    kept = list(directory.glob("fold-*/checkpoints/step-*"))
    assert kept
    (small_disk / "ballast").unlink()
    code, output = run(words(dataset, directory))
    assert code == 0, output
    assert "resumes from step-" in output
    assert same(directory, alone)


def test_a_mount_that_turns_read_only_stops_the_run(
    alone: Path, dataset: Path, small_disk: Path, tmp_path: Path
) -> None:
    directory = small_disk / "run"
    at = tmp_path / "at"
    process = start(words(dataset, directory), launcher=interrupted(at, FIRST.format(0), "go"))
    wait_until((at / "reached").exists, process)
    # A read-only bind mount over it: the file system itself cannot be remounted while the event file is open.
    mount("--bind", small_disk, small_disk)
    mount("-o", "remount,bind,ro", small_disk)
    (at / "go").touch()
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 2, output
    assert "Read-only file system; expected a writable file system" in output
    assert "Traceback" not in output
    code, output = run(words(dataset, directory))
    assert code == 2, output
    assert "Read-only file system" in output
    subprocess.run(["umount", "-l", small_disk], check=True)
    code, output = run(words(dataset, directory))
    assert code == 0, output
    assert same(directory, alone)


def test_a_mount_that_vanishes_stops_the_run_and_nothing_is_written_in_its_place(
    alone: Path, dataset: Path, small_disk: Path, tmp_path: Path
) -> None:
    directory = small_disk / "run"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    at = tmp_path / "at"
    process = start(words(dataset, directory), launcher=interrupted(at, FIRST.format(0), "go"))
    wait_until((at / "reached").exists, process)
    mount("--move", small_disk, elsewhere)
    (at / "go").touch()
    try:
        output, _ = process.communicate(timeout=LONG_S)
        assert process.returncode == 2, output
        assert "recipe.json was there when training started and is missing now" in output
        assert "Traceback" not in output
        assert not list(small_disk.rglob("*")), "written where the mount was"
        code, output = run([*words(dataset, elsewhere / "run")])
        assert code == 0, output
        assert same(elsewhere / "run", alone)
    finally:
        subprocess.run(["umount", "-l", elsewhere], check=False)


def test_a_dataset_changed_under_a_run_is_found(alone: Path, dataset: Path, tmp_path: Path) -> None:
    copy, directory = tmp_path / "dataset", tmp_path / "run"
    shutil.copytree(dataset, copy)
    at = tmp_path / "at"
    process = start(words(copy, directory), launcher=interrupted(at, FIRST.format(0), "go"))
    wait_until((at / "reached").exists, process)
    shard = next((copy / "shards").glob("train-*.tar"))
    os.truncate(shard, 4096)
    (at / "go").touch()
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 2, output
    assert re.search(rf"image \S+ in shards/{shard.name} of {copy}: the shard ends at byte 4096", output)
    assert "Traceback" not in output
    # With the shard restored, it resumes; with other folds it is another dataset.
    shutil.copy(dataset / "shards" / shard.name, shard)
    code, output = run(words(copy, directory))
    assert code == 0, output
    assert same(directory, alone)
    assign_folds(copy, SampleTable.read(copy), Manifest.read(copy), folds=2, seed=1)
    code, output = run(words(copy, directory))
    assert code == 2, output
    assert "another dataset or other folds (" in output


def test_a_damaged_checkpoint_is_found_and_the_one_before_it_used(alone: Path, dataset: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    second = r"fold-0/checkpoints/step-\d+-epoch-0001$"
    code, output = run(words(dataset, directory), launcher=interrupted(tmp_path / "at", second, signal.SIGKILL))
    assert code == -signal.SIGKILL, output
    # One more than are kept: those before it were still to be removed.
    *_, older, newer = sorted(directory.glob("fold-0/checkpoints/step-*"))
    damaged = newer / "optimizer.pt"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    code, output = run(words(dataset, directory))
    assert code == 0, output
    assert f"checkpoint {newer} is damaged (optimizer.pt does not have the expected SHA-256)" in output
    assert f"fold 0 resumes from {older.name}" in output
    assert same(directory, alone)


CLOCK = f"""
import os, random, runpy, time
_real, _rng = time.time, random.Random(7)
time.time = lambda: _real() + _rng.choice([-1, 1]) * _rng.uniform(0, 10 * 365 * 86400)
if "INTERRUPT_AT" in os.environ:
    runpy.run_path({str(INTERRUPTION / "sitecustomize.py")!r})
"""


def test_a_clock_that_jumps_years_back_and_forth_changes_nothing(alone: Path, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    jumpy = ["env", f"PYTHONPATH={tmp_path}", *COLD]
    probe = "import time; a = [time.time() for _ in range(99)]; print(any(x > y for x, y in zip(a, a[1:])))"
    assert run(["-c", probe], launcher=jumpy) == (0, "True\n")
    directory = tmp_path / "run"
    killed = interrupted(tmp_path / "at", FIRST.format(0), signal.SIGKILL, launcher=jumpy)
    code, output = run(words(dataset, directory, "--rank-timeout", 60), launcher=killed)
    assert code == -signal.SIGKILL, output
    code, output = run(words(dataset, directory, "--rank-timeout", 60), launcher=jumpy)
    assert code == 0, output
    assert "resumes from step-" in output
    assert same(directory, alone)
