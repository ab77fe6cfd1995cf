"""The look of every page: a page of all blocks passes the checks at every width, and each kind of fault is found."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from page_checks import SCHEMES, check_page, check_print, find_faults, open_page, requests
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from waiting import wait_until

sys.path.append(str(Path(__file__).resolve().parents[1] / "reporting" / "html"))
from test_html_page import make_page

from pneumo.reporting.html import page
from pneumo.reporting.html.page import Column, Section, Table

pytestmark = pytest.mark.browser
LONG = "1.2.826.0.1.3680043.8.498.12345678901234567890123456789 " * 3


@pytest.fixture(scope="module")
def all_blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "all_blocks.html"
    page.write(path, make_page(LONG))
    return path


def test_a_page_of_all_blocks_is_right_on_a_phone_and_a_desktop(browser: WebDriver, all_blocks: Path) -> None:
    check_page(browser, all_blocks)


@pytest.mark.parametrize("width", [320, 3840])
def test_it_is_right_on_the_smallest_and_the_largest_screen(browser: WebDriver, all_blocks: Path, width: int) -> None:
    check_page(browser, all_blocks, width)


def test_charts_and_text_follow_light_and_dark(browser: WebDriver, all_blocks: Path) -> None:
    colors = []
    for scheme in ("light", "dark"):
        open_page(browser, all_blocks, 800, scheme)
        script = "const e = document.querySelector(arguments[0]); return getComputedStyle(e)[arguments[1]]"
        shown = (
            ("body", "backgroundColor"),
            ("body", "color"),
            (".chart text", "fill"),
            (".chart path[style*=series]", "fill"),
        )
        colors.append([browser.execute_script(script, *what) for what in shown])
    assert all(light != dark for light, dark in zip(*colors, strict=True)), colors


def test_the_keyboard_reaches_the_content_and_every_scrolling_table(browser: WebDriver, all_blocks: Path) -> None:
    open_page(browser, all_blocks, 390)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the content"
    assert skip.rect["y"] >= 0
    skip.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "content"
    scrolling = browser.find_elements(By.CSS_SELECTOR, ".scroll")
    assert len(scrolling) >= 1
    assert {element.get_attribute("tabindex") for element in scrolling} == {"0"}


@pytest.fixture(scope="module")
def two_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a table of forty columns and one of two."""
    tables = [
        Table(
            caption="Numbers",
            columns=[Column(title="row"), *[Column(title="value", numeric=True)] * (number - 1)],
            rows=[["first", *["0.123"] * (number - 1)]] * 5,
        )
        for number in (40, 2)
    ]
    path = tmp_path_factory.mktemp("tables") / "tables.html"
    sections = [Section(title="Tables", blocks=tables)]
    page.write(path, page.Page(generator="test", title="Test", lead="Tables.", sections=sections, footer=[]))
    return path


def shadows(browser: WebDriver, number: int) -> tuple[bool, bool]:
    """Return whether the left and the right end of a table are in shadow: of other colors than the paper, all along."""
    table = browser.find_elements(By.CSS_SELECTOR, ".scroll")[number]
    pixels = cv2.imdecode(np.frombuffer(table.screenshot_as_png, np.uint8), cv2.IMREAD_COLOR).astype(int)
    color = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    paper = [int(part) for part in re.findall(r"\d+", color)][::-1]
    differs = np.abs(pixels - paper).max(axis=2) > 15
    # The text of a cell may reach an end, but not over the whole height.
    left, right = differs[:, 1:4].mean() > 0.9, differs[:, -4:-1].mean() > 0.9
    return bool(left), bool(right)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [390, 1280])
def test_a_shadow_shows_where_a_table_goes_on(browser: WebDriver, two_tables: Path, width: int, scheme: str) -> None:
    open_page(browser, two_tables, width, scheme)
    assert (shadows(browser, 0), shadows(browser, 1)) == ((False, True), (False, False))
    scroll = (
        "const e = document.querySelector('.scroll'); e.scrollLeft = arguments[0] * (e.scrollWidth - e.clientWidth)"
    )
    browser.execute_script(scroll, 0.5)
    assert shadows(browser, 0) == (True, True)
    browser.execute_script(scroll, 1)
    assert shadows(browser, 0) == (True, False)


def test_the_keyboard_scrolls_a_wide_table(browser: WebDriver, two_tables: Path) -> None:
    open_page(browser, two_tables, 390)
    wide = browser.find_element(By.CSS_SELECTOR, ".scroll")
    browser.execute_script("arguments[0].focus()", wide)
    wide.send_keys(Keys.ARROW_RIGHT)
    wait_until(lambda: browser.execute_script("return arguments[0].scrollLeft", wide) > 0)


def test_it_prints_on_paper_without_the_contents(browser: WebDriver, all_blocks: Path) -> None:
    assert check_print(browser, all_blocks).startswith(b"%PDF-")
    open_page(browser, all_blocks, 1280, "dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not browser.find_element(By.TAG_NAME, "nav").is_displayed()
        white = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert white == "rgb(255, 255, 255)"
        # What is folded away is printed.
        folded = "return document.querySelector('details p').checkVisibility()"
        assert browser.execute_script(folded)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert not browser.execute_script(folded)


@pytest.mark.parametrize(
    ("markup", "fault"),
    [
        ('<div style="width: 2000px">x</div>', r"the document is 2\d\d\d px wide"),
        ('<div style="overflow: hidden; width: 50px"><div style="width: 99px">x</div></div>', "cut off"),
        ('<img src="missing.png" alt="a">', "a picture that is not there"),
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "a picture without alt"),
        ("<svg></svg>", "an svg without a name"),
        (
            '<svg aria-label="a" viewBox="0 0 9 9" width="90"><text x="8">outside</text></svg>',
            "text outside of its chart",
        ),
        ("<h4>deep</h4>", "h4 follows h1"),
        ("<h1>again</h1>", "not one h1"),
        ('<p id="a"></p><p id="a"></p>', "several elements are #a"),
        ('<a href="#gone">x</a>', "leads nowhere"),
        ("<table></table>", "a table without a caption"),
        ('<p style="color: #999">faint</p>', r"contrast 2\.85"),
        ("<script>console.error('wrong')</script>", "console: .*wrong"),
        ("<script>missing()</script>", "console: .*ReferenceError"),
    ],
)
def test_a_fault_is_found(browser: WebDriver, tmp_path: Path, markup: str, fault: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(f'<!DOCTYPE html><html lang="en"><title>t</title><h1>t</h1>{markup}')
    open_page(browser, path, 390)
    found = find_faults(browser)
    assert any(re.match(fault, one) for one in found), found
    with pytest.raises(AssertionError):
        check_page(browser, path, 390)


def test_a_page_without_a_fault_has_none(browser: WebDriver, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text('<!DOCTYPE html><html lang="en"><title>t</title><h1>t</h1>')
    open_page(browser, path, 390)
    assert find_faults(browser) == []


def test_a_request_is_found_and_reaches_nothing(browser: WebDriver, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en"><title>t</title><h1>t</h1><img src="http://example.org/a.png" alt="">'
    )
    open_page(browser, path, 390)
    assert requests(browser) == ["http://example.org/a.png"]
    assert any("ERR_NAME_NOT_RESOLVED" in fault for fault in find_faults(browser))
