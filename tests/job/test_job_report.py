"""job/report.py from its flags to its page."""

import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from command_driver import call

from pneumo import __version__
from pneumo.inference.histograms import PredictionHistograms
from pneumo.runtime.files import sha256


@pytest.fixture(scope="module")
def finished(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a run that job/train.py has finished."""
    return Path(shutil.copytree(alone, tmp_path_factory.mktemp("runs") / "alone"))


def report(run: Path, *words: object) -> tuple[object, str, str]:
    return call("report", ["--run", str(run), *map(str, words)])


@pytest.mark.usefixtures("empty_charts")
def test_a_run_has_a_report_that_is_written_again(finished: Path, dataset: Path) -> None:
    page = finished / "report.html"
    first = page.read_text()
    assert first.count("<img ") > 3, "job/train.py has written it with pictures"
    files = others(finished)
    code, printed, errors = report(finished, "--dataset", dataset)
    assert code in (0, None), errors
    assert re.fullmatch(rf"{page}: \d+ kB; open it in a browser\n", printed)
    assert page.read_text() == first
    assert report(finished)[0] in (0, None)
    assert "Pictures need the dataset" in page.read_text()
    assert others(finished) == files


def test_notes_on_drains_are_compared(finished: Path, tmp_path: Path) -> None:
    image_ids = PredictionHistograms.read(finished / "oof.parquet").image_id.tolist()
    notes, out = tmp_path / "drains.csv", tmp_path / "page.html"
    rows = [f"{one}.dcm,{'Yes' if n % 2 else 'no'}" for n, one in enumerate(image_ids)]
    notes.write_text("\n".join(["ImageId,Drain", *rows]))
    code, _, errors = report(finished, "--drains", notes, "--out", out)
    assert code in (0, None), errors
    assert "by how they were decided" in out.read_text()
    assert "of no image" not in errors
    notes.write_text("\n".join(["ImageId,Drain", *rows, "1.2.3.dcm,no"]))
    code, _, errors = report(finished, "--drains", notes, "--out", out)
    assert code in (0, None), errors
    assert "Notes on drains of no image that is scored: 1 (1.2.3); they are not counted" in errors
    page = out.read_text()
    assert "1 note on drains of no image that is scored: not counted here." in page
    assert "1.2.3" not in page.split("1 note on drains")[1].split("</p>")[0]
    notes.write_text(f"ImageId,Drain\n{image_ids[0]},perhaps\n")
    code, _, errors = report(finished, "--drains", notes, "--out", out)
    assert code == 2
    assert f"line 2: 'perhaps' for image {image_ids[0]}; expected yes or no in the column Drain" in errors


def others(run: Path) -> dict[Path, str]:
    """Return the digests of a run's files but for the report and its logs."""
    own = {run / "report.html", *logs(run)}
    return {path: sha256(path) for path in run.rglob("*") if path.is_file() and path not in own}


def logs(run: Path) -> list[Path]:
    return sorted((run / "logs").glob("report-*.log"))


def test_the_start_is_in_a_log_where_the_run_can_be_written(
    alone: Path, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    run = Path(shutil.copytree(alone, tmp_path / "run", ignore=shutil.ignore_patterns("logs")))
    words = ["--run", str(run), "--out", str(tmp_path / "page.html")]
    code, _, errors = call("report", words)
    assert code in (0, None), errors
    (path,) = logs(run)
    assert f"on {socket.gethostname()} with pneumo {__version__}, " in path.read_text()
    read_only(run)
    code, _, errors = call("report", words)
    assert (code in (0, None), "WARNING" in errors) == (True, False), errors
    assert logs(run) == [path]


def test_it_replaces_nothing_else(finished: Path, dataset: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.html"
    notes.write_text("<html>mine</html>")
    for out, message in (
        (notes, "--out would replace .*notes.html, which is no earlier result of this command"),
        (dataset / "report.html", "--out would write .*report.html in .*, which --dataset reads"),
        (finished / "metrics.json", "--out would replace .*metrics.json, which --run reads"),
        (finished / "fold-0" / "report.html", "--out would write .*report.html in .*fold-0"),
        (tmp_path, "is a directory; expected the name of a file to write"),
    ):
        code, printed, errors = report(finished, "--dataset", dataset, "--out", out)
        assert (code, printed) == (2, "")
        assert re.search(f"ERROR .*{message}", errors), errors
    assert notes.read_text() == "<html>mine</html>"
    code, printed, _ = report(finished, "--out", tmp_path / "page.html")
    assert code in (0, None)
    assert (tmp_path / "page.html").is_file()


def test_what_is_no_run_or_another_dataset_is_refused(finished: Path, dataset: Path, tmp_path: Path) -> None:
    code, _, errors = report(tmp_path)
    assert code == 2
    assert "recipe.json" in errors
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    recipe = copy / "recipe.json"
    recipe.write_text(re.sub(r'"digest": "\w+"', f'"digest": "{"0" * 64}"', recipe.read_text()))
    code, _, errors = report(copy, "--dataset", dataset)
    assert code == 2
    assert re.search(
        "ERROR --dataset .* is not the one that .* was trained on; expected the dataset of the run", errors
    )
