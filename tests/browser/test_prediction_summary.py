"""summary.html of a prediction as people read it: with pictures to page through, on a phone and a desktop."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from page_checks import check_page, open_page
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pneumo.dataset.incoming import read_images
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.inference.ensembler import ImagePrediction, PredictedImage
from pneumo.masks import rle
from pneumo.reporting.outputs import summary_page
from pneumo.reporting.outputs.context import OutputContext
from pneumo.synthetic.tree import SyntheticTree

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def summary(synthetic: SyntheticTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 38 images, half of them positive, and of files that are none."""
    root = tmp_path_factory.mktemp("summary")
    (root / "in").mkdir()
    for number, path in enumerate([*sorted(synthetic.dicom.rglob("*.dcm")), *sorted(synthetic.test_dicom.iterdir())]):
        (root / "in" / f"{number}.dcm").write_bytes(path.read_bytes())
    (root / "in" / ("a-long-name-" * 9 + ".dcm")).write_text("<html>")
    options = BuildOptions(workers=1, max_quarantined=100)
    images = read_images(BuildInputs(dicom=root / "in"), options, root / "dataset", root)
    context = OutputContext(
        reader=images.reader,
        sources=images.sources,
        lists=images.lists,
        account=images.account,
        model="runs/best",
        rule="positive with a pixel of probability >= 0.301",
    )
    output = summary_page.SummaryPage(root / "summary.html", context)
    table = images.reader.table
    for row in range(len(table)):
        mask = np.zeros(table.shape(row), np.uint8)
        if row % 2:
            cv2.circle(mask, (30 + row, 40), 12, 1, -1)
        prediction = ImagePrediction(
            image_id=str(table.image_id[row]),
            rle=rle.encode(mask),
            presence_probability=row / 40,
            mask_area=int(mask.sum()),
            max_pixel_probability=row / 41,
        )
        output.add(PredictedImage(prediction, row, partial(mask.astype, np.float32), mask, images.reader))
    output.close()
    return root / "summary.html"


def test_the_summary_is_right_on_a_phone_and_a_desktop(
    browser: WebDriver, summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_page(browser, summary)
    pictures = browser.find_elements(By.CSS_SELECTOR, "figure img")
    assert len(pictures) == 38
    assert len(browser.find_elements(By.CSS_SELECTOR, "figure path.prediction")) == 19
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "Not for clinical use" in text
    assert "19 with a predicted pneumothorax, 19 without." in text
    assert "unknown_format" in text


def test_the_keyboard_leads_to_every_section(browser: WebDriver, summary: Path) -> None:
    open_page(browser, summary, 390)
    links = browser.find_elements(By.CSS_SELECTOR, "nav a")
    assert [link.text for link in links][:2] == ["Overview", "Positive images"]
    links[1].send_keys(Keys.ENTER)
    top = browser.find_element(By.ID, "positive-images").rect["y"]
    assert abs(browser.execute_script("return window.scrollY") - top) < 40
