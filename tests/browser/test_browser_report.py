"""The report of a run in a browser: finished with pictures, in training, and just begun."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from page_checks import check_page, open_page, print_to_pdf
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from waiting import LONG_S

from pneumo.reporting.html import page
from pneumo.reporting.report.facts import FoldProgress
from pneumo.reporting.report.page import build

sys.path.append(str(Path(__file__).resolve().parents[1] / "reporting" / "report"))
from report_facts import MEASURED, history, make_evidence, make_facts

pytestmark = pytest.mark.browser
JOB = Path(__file__).resolve().parents[2] / "job"


def command(name: str, *words: object) -> None:
    done = subprocess.run([sys.executable, JOB / f"{name}.py", *map(str, words)], timeout=LONG_S, check=False)
    assert done.returncode == 0


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that job/train.py has finished, with its report."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    words = ["--recipe", "debug", "--epochs", 3, "--image-size", 32, "--model.encoder", "tu-test_efficientnet"]
    words += ["--model.decoder-channels", *["16"] * 5]
    command("train", "--dataset", dataset, "--run", path, "--workers", 1, *words)
    return path


def test_the_report_of_training_is_right_on_a_phone_and_a_desktop(browser: WebDriver, run: Path) -> None:
    check_page(browser, run / "report.html", name="report-finished")
    titles = [element.text for element in browser.find_elements(By.TAG_NAME, "h2")]
    assert [title for title in titles if title != "Contents"] == [
        *("Scores", "Caveats", "Folds", "Presence", "Decision rule", "Subgroups", "Errors", "Cases"),
        *("Learning curves", "Time and memory", "Recipe", "Dataset"),
    ]
    metrics = json.loads((run / "metrics.json").read_text())
    facts = browser.find_element(By.ID, "scores").text
    assert f"{metrics['nested']['dice']:.3f}" in facts
    assert f"{metrics['dice_all_empty']:.3f}" in facts
    charts = browser.find_elements(By.CSS_SELECTOR, "svg.chart")
    assert len(charts) >= 12
    assert all(chart.get_attribute("aria-label") for chart in charts)
    pictures = browser.find_elements(By.CSS_SELECTOR, ".xray img")
    assert len(pictures) > 3
    assert browser.find_elements(By.CSS_SELECTOR, "path.truth")


def test_outlines_are_told_apart_without_color(browser: WebDriver, run: Path) -> None:
    open_page(browser, run / "report.html", 1280)
    dashes = "return getComputedStyle(document.querySelector(arguments[0])).strokeDasharray"
    assert browser.execute_script(dashes, "path.truth") == "none"
    if browser.find_elements(By.CSS_SELECTOR, "path.prediction"):
        assert browser.execute_script(dashes, "path.prediction") != "none"


def test_the_tables_of_ten_folds_fit_a_desktop_and_a_phone_shows_all_figures_of_some(
    browser: WebDriver, tmp_path: Path
) -> None:
    evidence = make_evidence()
    # As many images as SIIM-ACR has, and ten hours for each fold.
    folds = [replace(evidence.metrics.folds[0], fold=k, images=12_047, positives=2_669) for k in range(10)]
    measured = MEASURED | {"train_s": 36_000.0, "images_per_s": 1_234.5}
    progress = [FoldProgress(fold=k, state="finished", history=history(5, **measured)) for k in range(10)]
    evidence = replace(evidence, metrics=replace(evidence.metrics, folds=folds))
    path = tmp_path / "report.html"
    page.write(path, build(make_facts(evidence=evidence, folds=progress)))
    check_page(browser, path, name="report-ten-folds")
    open_page(browser, path, 1280)
    widths = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')]"
        ".map(e => [e.querySelector('caption').textContent, e.scrollWidth, e.clientWidth])"
    )
    assert len(widths) == 7
    assert [caption for caption, needed, there in widths if needed > there] == []
    open_page(browser, path, 390)
    seen = browser.execute_script(
        "const table = document.querySelector('#folds .scroll'), end = table.getBoundingClientRect().right;"
        "return [...table.querySelectorAll('th[scope=col]')]"
        ".filter(e => e.getBoundingClientRect().right <= end).map(e => e.textContent)"
    )
    assert seen[:4] == ["", "fold 0", "fold 1", "fold 2"]


def test_it_prints(browser: WebDriver, run: Path) -> None:
    open_page(browser, run / "report.html", 1280, "dark")
    assert len(print_to_pdf(browser)) > 50_000


def test_the_report_of_a_run_in_training_says_what_is_missing(browser: WebDriver, run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    for name in ("metrics.json", "oof.csv", "report.html"):
        (copy / name).unlink()
    shutil.rmtree(copy / "fold-1")
    command("report", "--run", copy)
    check_page(browser, copy / "report.html", name="report-in-training")
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "Not finished: 1 of 2 folds are trained. The scores are of fold 0, and will change." in text
    assert "fold 1" in browser.find_element(By.ID, "progress").text
    shutil.rmtree(copy / "fold-0")
    command("report", "--run", copy)
    check_page(browser, copy / "report.html", name="report-begun")
    assert "there is nothing to score" in browser.find_element(By.TAG_NAME, "body").text
