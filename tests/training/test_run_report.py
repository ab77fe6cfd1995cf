"""The report of a run on disk: finished, in training, begun; it locks nothing, and its failure costs nothing."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from finished_runs import finish_folds
from training_runs import AfterSteps, shrunk, training

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.reporting.html.page import Page
from pneumo.reporting.report import page
from pneumo.reporting.report.facts import RunFacts
from pneumo.runtime import locks
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import cross_validation, run_directory, run_report
from pneumo.training.run_directory import RunDirectory
from pneumo.training.run_metrics import finish_run
from pneumo.training.run_report import gather, is_report_due, write_last, write_report


@pytest.fixture
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture(scope="module")
def finished(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run, without a report."""
    run = finish_folds(tmp_path_factory.mktemp("runs") / "done", dataset, world)
    finish_run(run, world, ShardReader(dataset, SampleTable.read(dataset)), workers=1)
    return run


def state_of(run: RunDirectory) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path != run.report}


def test_a_finished_run_has_its_pictures_and_scores(finished: RunDirectory, reader: ShardReader) -> None:
    before = state_of(finished)
    html = write_report(finished, reader).read_text()
    assert finished.report.stat().st_size < 2_000_000
    assert state_of(finished) == before
    facts = gather(finished, reader)
    assert facts.is_finished
    assert facts.evidence is not None
    assert facts.evidence.metrics.caveats
    assert f"{facts.evidence.metrics.nested.dice:.3f}" in html
    assert html.count("<img ") >= 4
    assert not re.search(r'(src|href)="http', html)


@pytest.mark.parametrize("other", ["", "another,-1\n"])
def test_masks_that_lack_an_image_are_refused(
    other: str, finished: RunDirectory, reader: ShardReader, world: World, tmp_path: Path
) -> None:
    run = run_directory.load(shutil.copytree(finished.path, tmp_path / "run"))
    whole = run.masks.read_text()
    lines = whole.splitlines(keepends=True)
    run.masks.write_text("".join([*lines[:4], other, *lines[5:]]))
    missing = lines[4].split(",")[0]
    with pytest.raises(UserError) as raised:
        gather(run, reader)
    assert f"oof.csv has no row of 1 ({missing}); expected a mask for each of 32 labeled images; delete it;" in str(
        raised.value
    )
    run.masks.unlink()
    finish_run(run, world, reader, workers=1)
    assert run.masks.read_text() == whole
    assert len(gather(run, reader).evidence.masks) == 32


def test_it_is_written_while_all_locks_are_held_and_into_another_file(
    finished: RunDirectory, reader: ShardReader, tmp_path: Path
) -> None:
    with locks.hold(finished.lock, "run"), locks.hold(finished.fold(0).lock, "fold"):
        assert write_report(finished, reader, tmp_path / "page.html") == tmp_path / "page.html"
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_a_run_in_training_is_read_from_its_checkpoints(dataset: Path, tmp_path: Path, world: World) -> None:
    recipe = shrunk("debug")
    run = tmp_path / "run"
    # Fold 0 is finished after 4 steps; fold 1 has an epoch and waits for its prediction.
    with pytest.raises(StopRequested):
        cross_validation.train(training(recipe, dataset, run), world, AfterSteps(7))
    loaded = run_directory.load(run)
    assert not loaded.report.exists()
    facts = gather(loaded, None)
    assert [one.state for one in facts.folds] == ["finished", "in training"]
    assert [len(one.history) for one in facts.folds] == [1, 0]
    assert not facts.is_finished
    assert facts.evidence is not None
    assert set(facts.evidence.histograms.fold.tolist()) == {0}
    assert facts.evidence.metrics.submission_networks == 2
    html = write_report(loaded, None).read_text()
    assert "Not finished: 1 of 2 folds are trained. The scores are of fold 0, and will change." in html
    # Training resumes with the page in its directory, and replaces it at its end.
    cross_validation.train(training(recipe, dataset, run), world, AfterSteps(10**6))
    assert "Not finished" not in loaded.report.read_text()
    assert (loaded.submission).is_file()


def test_a_run_that_has_just_begun(finished: RunDirectory, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.json").write_bytes((finished.path / "recipe.json").read_bytes())
    facts = gather(run_directory.load(run), None)
    assert [one.state for one in facts.folds] == ["not started", "not started"]
    assert facts.evidence is None


def test_a_checkpoint_that_vanishes_while_it_is_read_is_no_error(finished: RunDirectory, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "fold-1" / "checkpoints" / "step-00000004-epoch-0001").mkdir(parents=True)
    (run / "recipe.json").write_bytes((finished.path / "recipe.json").read_bytes())
    assert [one.state for one in gather(run_directory.load(run), None).folds] == ["not started", "not started"]


def test_a_fold_that_is_finished_while_its_checkpoints_are_read_has_its_history(
    finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_directory.load(shutil.copytree(finished.path, tmp_path / "run"))
    summary, hidden = run.fold(1).summary, tmp_path / "fold.json"
    summary.rename(hidden)

    def finish(_: Path) -> list[Path]:
        hidden.rename(summary)
        return []

    monkeypatch.setattr(run_report.checkpoint_directory, "published", finish)
    assert [one.state for one in gather(run, None).folds] == ["finished", "finished"]


def fail(*_: object) -> Path:
    raise RuntimeError("no space left")


def add_foreign_report(run: RunDirectory, _: pytest.MonkeyPatch) -> None:
    run.report.write_text("<html>mine</html>")


def break_report(_: RunDirectory, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run_report, "write_report", fail)


@pytest.fixture
def without_report(finished: RunDirectory) -> Iterator[RunDirectory]:
    """A finished run whose report is removed after the test."""
    yield finished
    finished.report.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (break_report, "RuntimeError: no space left"),
        (add_foreign_report, "--run would replace .*report.html, which is no earlier"),
    ],
)
def test_a_report_that_fails_is_logged_with_the_command(
    without_report: RunDirectory,
    reader: ShardReader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    breaks: Callable[[RunDirectory, pytest.MonkeyPatch], None],
    reason: str,
) -> None:
    finished = without_report
    breaks(finished, monkeypatch)
    write_last(finished, reader)
    (record,) = (record for record in caplog.records if record.levelname == "WARNING")
    message = record.getMessage()
    assert re.search(rf"report\.html is not written \({reason}", message)
    assert f"job/report.py --run {finished.path} --dataset {reader.dataset} writes it" in message


class OtherDataset:
    """In place of a manifest."""

    samples_digest = "0" * 64


def test_another_dataset_of_test_images_gives_a_report_without_pictures(
    without_report: RunDirectory,
    reader: ShardReader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = without_report
    monkeypatch.setattr(run_report.Manifest, "read", lambda _: OtherDataset)
    with caplog.at_level("INFO"):
        write_last(run, reader)
    assert "Pictures need the dataset" in run.report.read_text()
    assert caplog.messages == [
        f"wrote {run.report}: open it in a browser; job/report.py --run {run.path} --dataset DATASET, with the one that"
        " it was trained on, adds the pictures"
    ]


def test_another_dataset_of_test_images_leaves_a_report_with_pictures(
    without_report: RunDirectory,
    reader: ShardReader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = without_report
    write_last(run, reader)
    before = run.report.read_bytes()
    monkeypatch.setattr(run_report.Manifest, "read", lambda _: OtherDataset)
    with caplog.at_level("INFO"):
        caplog.clear()
        write_last(run, reader)
    assert run.report.read_bytes() == before
    assert caplog.messages == [
        f"{run.report} stays as it is: {reader.dataset} is not the dataset that the run was trained on"
    ]


def test_a_report_is_due_until_it_is_of_the_metrics_that_are_there(
    finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_directory.load(shutil.copytree(finished.path, tmp_path / "run"))
    assert is_report_due(run)
    write_report(run, None)
    assert not is_report_due(run)
    # Whatever a copy makes of the times.
    os.utime(run.report, ns=(0, 0))
    assert not is_report_due(run)
    build = page.build

    def build_while_the_run_is_finished(facts: RunFacts) -> Page:
        run.metrics.write_bytes(content)
        return build(facts)

    content = run.metrics.read_bytes()
    run.metrics.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(run_report.page, "build", build_while_the_run_is_finished)
        write_report(run, None)
    assert is_report_due(run)
    write_report(run, None)
    assert not is_report_due(run)
    # As by a later command that writes the masks too.
    run.metrics.write_bytes(content + b"\n")
    assert is_report_due(run)


def test_a_stop_request_meanwhile_is_no_failure_of_the_report(
    finished: RunDirectory, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise StopRequested("SIGTERM")

    monkeypatch.setattr(run_report, "write_report", stop)
    with pytest.raises(StopRequested, match="SIGTERM"):
        write_last(finished, ShardReader(dataset, SampleTable.read(dataset)))
