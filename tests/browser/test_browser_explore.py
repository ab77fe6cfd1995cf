"""The page of job/explore.py in a browser."""

from pathlib import Path

import pytest
from command_driver import call
from page_checks import check_page, check_print, open_page
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def explored(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explore") / "explore.html"
    code, _, errors = call("explore", ["--dataset", str(dataset), "--out", str(out), "--pictures", "4"])
    assert code in (0, None), errors
    return out


def test_it_is_right_on_a_phone_and_a_desktop(browser: WebDriver, explored: Path) -> None:
    check_page(browser, explored)


def test_it_prints(browser: WebDriver, explored: Path) -> None:
    assert len(check_print(browser, explored)) > 20_000


def test_its_text_charts_and_pictures_are_there(browser: WebDriver, explored: Path) -> None:
    open_page(browser, explored, 1280)
    text = browser.find_element(By.TAG_NAME, "main").text
    for words in (
        "labeled images\n32",
        "A pneumothorax is air between the lung and the chest wall",
        "View: PA",
        "fold 1",
    ):
        assert words in text
    outlined = browser.find_elements(By.CSS_SELECTOR, "#images-with-a-pneumothorax .xray path.truth")
    assert len(outlined) == 4
    assert all(path.rect["width"] > 1 for path in outlined)
    charts = browser.find_elements(By.CSS_SELECTOR, "svg.chart")
    assert {chart.get_attribute("aria-label").partition(" ")[0] for chart in charts} >= {
        "Share",
        "Histogram",
        "Heat",
        "Images",
    }
    assert all(chart.rect["height"] > 50 for chart in charts)


def test_the_contents_lead_to_the_sections(browser: WebDriver, explored: Path) -> None:
    open_page(browser, explored, 390)
    link = browser.find_element(By.LINK_TEXT, "Duplicates")
    link.click()
    assert browser.current_url.endswith("#duplicates")
    top = browser.execute_script("return document.getElementById('duplicates').getBoundingClientRect().top")
    assert -1 <= top <= 40
