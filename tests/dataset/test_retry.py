"""Finished shards are written again when a file of theirs may be readable now, and only then."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from build_data import OPTIONS, contents, rows

from pneumo.dataset import input_record, merge, paths, retry, shard_record, shard_writer
from pneumo.dataset.build import build, make_plan
from pneumo.dataset.limits import Limits
from pneumo.dataset.options import BuildOptions
from pneumo.dataset.plan import BuildPlan
from pneumo.dataset.workers import Pool
from pneumo.dicom.rejection import FileRejectedError, Reason

REJECTED = "train-000001"
"""The shard with a rejected file."""


@pytest.fixture(scope="module")
def plan(tree, tmp_path_factory: pytest.TempPathFactory) -> BuildPlan:
    with Pool(OPTIONS.workers, OPTIONS.limits) as pool:
        return make_plan(tree.inputs, tmp_path_factory.mktemp("plan") / "none", OPTIONS, pool)


def write_all(dataset: Path, plan: BuildPlan, reason: Reason) -> None:
    """Write the plan and every shard, one of them with a file that is rejected for a reason."""
    input_record.write_or_check(dataset, plan)
    for shard in plan.shards:
        rejection = FileRejectedError(reason, "read", "found", "expected", "action")
        rejected = {shard.samples[0].source: rejection} if shard.name == REJECTED else {}
        shard_writer.write(dataset, OPTIONS.conditions, rejected, shard)


def dropped(dataset: Path, plan: BuildPlan, options: BuildOptions) -> list[str]:
    """Return the shards that are to be written again under these options."""
    retry.drop_records(dataset, plan.shards, options.conditions)
    return [shard.name for shard in plan.shards if not shard_record.is_done(dataset, shard)]


SAME = replace(OPTIONS, num_folds=2, max_quarantined=50, limits=Limits())
LONGER = replace(OPTIONS, limits=Limits(time_limit=90))
LARGER = replace(OPTIONS, limits=Limits(memory_limit=8))
FEWER = replace(OPTIONS, workers=1)


@pytest.mark.parametrize(
    ("reason", "kept_by", "dropped_by"),
    [
        (Reason.UNREADABLE, [], [SAME]),
        (Reason.CRASHED, [], [SAME]),
        (Reason.TOOK_TOO_LONG, [SAME, LARGER, FEWER], [LONGER]),
        (Reason.TOO_MUCH_MEMORY, [SAME, LONGER], [LARGER, FEWER]),
        *((reason, [SAME, LONGER, LARGER, FEWER], []) for reason in Reason if reason not in retry.RETRIED),
    ],
)
def test_what_follows_from_the_file_is_final_and_other_reasons_are_not(
    plan: BuildPlan, tmp_path: Path, reason: Reason, kept_by: list[BuildOptions], dropped_by: list[BuildOptions]
) -> None:
    write_all(tmp_path / "written", plan, reason)
    for options in kept_by:
        assert dropped(tmp_path / "written", plan, options) == []
    for number, options in enumerate(dropped_by):
        dataset = shutil.copytree(tmp_path / "written", tmp_path / str(number))
        before = contents(paths.shards(dataset))
        assert dropped(dataset, plan, options) == [REJECTED]
        assert contents(paths.shards(dataset)) == before, "a tar was removed before its successor is there"


def test_a_dataset_with_a_file_that_is_readable_now_is_that_of_an_undisturbed_build(
    tree, plan: BuildPlan, built: Path, tmp_path: Path
) -> None:
    write_all(tmp_path / "out", plan, Reason.UNREADABLE)
    others = {path: path.stat().st_ino for path in paths.shards(tmp_path / "out").iterdir() if path.stem != REJECTED}
    build(tree.inputs, tmp_path / "out", OPTIONS)
    assert contents(tmp_path / "out") == contents(built)
    assert {path: path.stat().st_ino for path in others} == others, "shards without such a file were written again"


def test_a_merge_waits_for_the_shard_that_is_written_again(plan: BuildPlan, tmp_path: Path) -> None:
    write_all(tmp_path, plan, Reason.CRASHED)
    retry.drop_records(tmp_path, plan.shards, OPTIONS.conditions)
    assert merge.merge(tmp_path, plan, OPTIONS) is None
    assert not paths.manifest(tmp_path).exists()


def test_a_task_that_comes_too_late_changes_nothing_of_the_finished_dataset(
    tree, plan: BuildPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process finishes the dataset after this one has decided to write a shard again."""
    out = tmp_path / "out"
    write_all(out, plan, Reason.CRASHED)
    options = replace(OPTIONS, max_quarantined=50)
    real, finished = retry.locks.hold, dict[str, bytes]()

    def hold(*words: object, **more: float) -> object:
        monkeypatch.undo()
        merge.merge(out, plan, options)
        finished.update(contents(out))
        return real(*words, **more)

    monkeypatch.setattr(retry.locks, "hold", hold)
    manifest = build(tree.inputs, out, options)
    assert manifest is not None
    assert contents(out) == finished
    assert [row["reason"] for row in rows(out / paths.QUARANTINE)] == ["crashed"]
