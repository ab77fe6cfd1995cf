"""The end of a build: records become the table, the lists and dataset.json, once, by the task that ends last."""

import errno
import fcntl
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from build_data import OPTIONS, contents

from pneumo.dataset import merge, paths, shard_writer
from pneumo.dataset.build import build, make_plan
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.plan import BuildPlan
from pneumo.dataset.table import SampleTable
from pneumo.dataset.workers import Pool
from pneumo.runtime.errors import UserError


@pytest.fixture(scope="module")
def plan(tree, tmp_path_factory: pytest.TempPathFactory) -> BuildPlan:
    with Pool(OPTIONS.workers, OPTIONS.limits) as pool:
        return make_plan(tree.inputs, tmp_path_factory.mktemp("plan") / "none", OPTIONS, pool)


@pytest.fixture(scope="module")
def written(plan: BuildPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose shards are all written, not yet merged."""
    out = tmp_path_factory.mktemp("written") / "dataset"
    for shard in plan.shards:
        shard_writer.write(out, OPTIONS.conditions, {}, shard)
    return out


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "copy")


def finish(dataset: Path, plan: BuildPlan) -> Manifest:
    return merge.merge(dataset, plan, OPTIONS)


def test_merging_gives_the_dataset_of_a_build(copy: Path, plan: BuildPlan, built: Path) -> None:
    assert finish(copy, plan) == Manifest.read(built)
    assert contents(copy) == contents(built)
    assert finish(copy, plan) == Manifest.read(built)
    assert contents(copy) == contents(built)


def test_many_tasks_may_merge_at_once(
    copy: Path, plan: BuildPlan, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One does the work; the others wait while it removes the directory of the lock, and read what it wrote."""
    merged = []
    real: Callable[..., Manifest] = merge._finish

    def count(*arguments: object) -> Manifest:
        merged.append(1)
        time.sleep(0.3)
        return real(*arguments)

    monkeypatch.setattr(merge, "_finish", count)
    results: list[Manifest] = []
    threads = [threading.Thread(target=lambda: results.append(finish(copy, plan))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert merged == [1]
    assert results == [Manifest.read(built)] * 6
    assert contents(copy) == contents(built)


def test_a_file_system_without_locks_is_no_obstacle(
    tree, tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr("pneumo.runtime.locks._warned", set())
    assert build(tree.inputs, tmp_path / "out", OPTIONS) == Manifest.read(built)
    assert contents(tmp_path / "out") == contents(built)
    assert "this file system has no locks" in caplog.text


def test_the_lock_of_a_killed_process_is_released(copy: Path, plan: BuildPlan, built: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom pneumo.runtime import locks\n"
        "with locks.hold(Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    time.sleep(100)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, paths.lock(copy)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    threading.Timer(0.3, holder.kill).start()
    assert finish(copy, plan) == Manifest.read(built)
    holder.communicate()
    assert contents(copy) == contents(built)


def test_no_sample_at_all_leaves_the_lists_and_no_dataset(copy: Path, plan: BuildPlan) -> None:
    for path in [paths.shard_record(copy, shard.name) for shard in plan.shards]:
        record = json.loads(path.read_text())
        assert record["rows"]
        path.write_text(json.dumps(record | {"rows": []}))
    with pytest.raises(UserError, match="no usable image in 24 train files"):
        finish(copy, plan)
    assert (copy / paths.QUARANTINE).is_file()
    assert not paths.manifest(copy).exists()
    assert paths.build(copy).is_dir()


def test_processes_that_ask_for_different_folds_take_turns(built: Path, tmp_path: Path, monkeypatch) -> None:
    copy = shutil.copytree(built, tmp_path / "copy")
    inside, most = 0, 0
    real = merge.assign_folds

    def slow(*arguments: object) -> Manifest:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.2)
        manifest: Manifest = real(*arguments)
        inside -= 1
        return manifest

    monkeypatch.setattr(merge, "assign_folds", slow)
    threads = [
        threading.Thread(target=merge.refold, args=(copy, replace(OPTIONS, num_folds=folds))) for folds in (2, 4, 5, 6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    table = SampleTable.read(copy)
    assert table.fold.max() == Manifest.read(copy).num_folds - 1
    assert not paths.build(copy).exists()


def test_other_folds_change_only_the_table_and_dataset_json(built: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(built, tmp_path / "copy")
    table, manifest = SampleTable.read(copy), Manifest.read(copy)
    changed = merge.assign_folds(copy, table, manifest, 4, 9)
    assert changed == replace(
        manifest, num_folds=4, fold_seed=9, folds_digest=changed.folds_digest, samples_digest=table.digest()
    )
    again = SampleTable.read(copy)
    assert set(again.fold[again.select("train")].tolist()) == {0, 1, 2, 3}
    assert (again.fold[again.select("test")] == -1).all()
    assert np.array_equal(again.mask_area, table.mask_area)
