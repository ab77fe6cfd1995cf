"""``tensorboard --logdir runs`` in a browser, on two runs of two folds, one of which was killed while it trained."""

import json
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from page_checks import keep_screenshot, open_page
from selenium.webdriver.chrome.webdriver import WebDriver
from waiting import LONG_S, wait_until

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
RUNS = ["killed/fold-0", "killed/fold-1", "plain/fold-0", "plain/fold-1"]
VALIDATED = [4, 8, 12]
"""Steps at which an epoch ends."""
DEEP_TEXT = """
const read = node => node.nodeType === 3 ? node.data
    : /^(STYLE|SCRIPT|TEMPLATE|DOM-MODULE)$/.test(node.nodeName) ? ""
    : [...(node.shadowRoot ? node.shadowRoot.childNodes : []), ...node.childNodes].map(read).join(" ");
return read(document.body)
"""
"""All text of the page, within the shadow roots too."""


def start_training(dataset: Path, run: Path, seed: int) -> "subprocess.Popen[bytes]":
    words = [
        "--seed",
        seed,
        "--dataset",
        dataset,
        "--run",
        run,
        "--recipe",
        "debug",
        "--epochs",
        "3",
        "--image-size",
        "32",
    ]
    words += ["--model.encoder", "tu-test_efficientnet", "--model.decoder-channels", *["16"] * 5]
    words += ["--workers", "1", "--batch-size", "4"]
    command = [sys.executable, ROOT / "job" / "train.py", *map(str, words), "--micro-batch-size", "2"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def finish_training(dataset: Path, run: Path, seed: int) -> None:
    assert start_training(dataset, run, seed).wait(LONG_S) == 0


@pytest.fixture(scope="module")
def address(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """TensorBoard over two runs; the first was killed as soon as its second validation was in the events."""
    runs = tmp_path_factory.mktemp("logs") / "runs"
    process = start_training(dataset, runs / "killed", seed=0)

    def validated() -> bool:
        found = b"".join(path.read_bytes() for path in (runs / "killed" / "fold-0").glob("events.out.*"))
        return found.count(b"1_val/auc") == 2

    wait_until(validated, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (runs / "killed" / "fold-0" / "fold.json").exists()
    finish_training(dataset, runs / "killed", seed=0)
    # Of the same seed its curves would lie on the others.
    finish_training(dataset, runs / "plain", seed=1)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", runs, "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "http://" in line)
        url = f"http://{line.partition('http://')[2].split('/')[0]}"
        wait_until(lambda: sorted(ask(url, "runs")) == RUNS, server)
        yield url
        server.terminate()


def ask(url: str, path: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{url}/data/{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)


def text_of(browser: WebDriver) -> str:
    return " ".join(browser.execute_script(DEEP_TEXT).split())


def open_dashboard(browser: WebDriver, url: str, name: str, ready: Callable[[str], bool]) -> str:
    """Open a dashboard in a wide window, and return its text once that is as expected."""
    open_page(browser, "about:blank", 1400)
    open_page(browser, f"{url}/#{name}", 1400)
    deadline = time.monotonic() + LONG_S
    while not ready(text := text_of(browser)):
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    keep_screenshot(browser, f"tensorboard-{name}")
    return text


def drawn_hues(png: bytes) -> set[int]:
    """Return the hues, in tenths of the circle, that colour a length of curve; axes and text are grey."""
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2HSV)
    hues = pixels[pixels[..., 1] > 60][:, 0] // 18
    return {int(hue) for hue, count in zip(*np.unique(hues, return_counts=True), strict=True) if count >= 40}


def test_no_point_is_doubled_by_the_kill(address: str) -> None:
    tags = ask(address, "plugin/scalars/tags")["killed/fold-0"]
    assert {"1_val/auc", "1_val/dice_best_rule", "train_epoch/total", "final/dice_nested"} <= tags.keys()
    for tag in tags:
        steps = [step for _, step, _ in ask(address, "plugin/scalars/scalars", run="killed/fold-0", tag=tag)]
        assert sorted(set(steps)) == steps, tag
        assert not tag.startswith("1_val/") or steps == VALIDATED
    curve = ask(address, "plugin/pr_curves/pr_curves", run="killed/fold-0", tag="presence/presence_head")
    assert [point["step"] for point in curve["killed/fold-0"]] == VALIDATED
    images = ask(address, "plugin/images/images", run="killed/fold-0", tag="2_val_images/large", sample="0")
    assert [image["step"] for image in images] == VALIDATED


def test_the_first_cards_are_the_validation_s_curves_and_pictures_of_both_runs(
    browser: WebDriver, address: str
) -> None:
    shown = ["1_val /auc", "2_val_images /large", *RUNS]
    text = open_dashboard(browser, address, "timeseries", lambda text: all(words in text for words in shown))

    titles = "return [...document.querySelectorAll('[class*=group-title]')].map(e => e.textContent.trim())"
    groups = dict.fromkeys(title for title in browser.execute_script(titles) if not title.endswith(" cards"))
    assert list(groups) == [
        *("Pinned", "1_val", "2_val_images", "final", "lr", "memory", "time", "train", "train_epoch"),
    ]
    # Beside each curve its last value, of every fold.
    assert text.count("1_val /auc") == 1
    rows = browser.execute_script(
        "return [...document.querySelectorAll('scalar-card')].map(c => c.innerText).filter(t => t.includes('/auc'))"
    )
    assert all(run in rows[0] for run in RUNS)
    chart = next(card for card in browser.find_elements("css selector", "scalar-card") if "/auc" in card.text)
    browser.execute_script("arguments[0].scrollIntoView()", chart)
    line_chart = chart.find_element("css selector", "line-chart")
    wait_until(lambda: len(drawn_hues(line_chart.screenshot_as_png)) >= len(RUNS))
    keep_screenshot(browser, "tensorboard-curves")
    browser.execute_script("document.querySelector('image-card').scrollIntoView()")
    loaded = "return [...document.querySelectorAll('image-card img')].map(i => i.naturalWidth)"
    wait_until(lambda: (widths := browser.execute_script(loaded)) and set(widths) == {320})


@pytest.mark.parametrize(
    ("dashboard", "expected"),
    [
        ("text", ["recipe", "model.encoder tu-test_efficientnet", *RUNS]),
        (
            "pr_curves",
            ["presence/presence_head", "presence/max_pixel", f"plain/fold-1 is at step {VALIDATED[-1]}", *RUNS],
        ),
        ("images", ["2_val_images/large", "2_val_images/negative", *RUNS]),
        ("hparams", ["Trial ID", "killed", "plain", "model.encoder", "dice nested"]),
    ],
)
def test_a_dashboard_shows_both_runs(browser: WebDriver, address: str, dashboard: str, expected: list[str]) -> None:
    open_dashboard(browser, address, dashboard, lambda text: all(words in text for words in expected))


def test_the_folds_of_a_run_are_one_row_of_the_hyperparameters(address: str) -> None:
    request = urllib.request.Request(
        f"{address}/data/plugin/hparams/session_groups",
        json.dumps({"startIndex": 0, "sliceSize": 10, "allowedStatuses": ["STATUS_SUCCESS"]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        groups = json.load(answer)["sessionGroups"]
    assert {group["name"]: len(group["sessions"]) for group in groups} == {"killed": 2, "plain": 2}
    for group in groups:
        metrics = {metric["name"]["tag"]: metric["value"] for metric in group["metricValues"]}
        assert metrics.keys() == {
            f"final/{name}" for name in ("dice_nested", "dice_best_rule", "dice_all_empty", "auc")
        }
