"""What every page must be in a browser: no error, nothing cut off, every picture there and named, headings in order."""

import base64
import os
from pathlib import Path
from typing import Any

from selenium.webdriver.chrome.webdriver import WebDriver

WIDTHS = (390, 1280)
"""A phone, and a desktop."""
PAPER = 680
"""Width of A4 paper within its margins of 15 mm, in CSS pixels of 1/96 inch."""
SCHEMES = ("light", "dark")

_FIND_FAULTS = (Path(__file__).parent / "find_faults.js").read_text()


def open_page(browser: WebDriver, address: str | Path, width: int, scheme: str = "light") -> None:
    """Open a file or a URL in a window of a width in pixels, in light or dark, and wait until it is loaded."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get_log("browser")
    browser.get(address.resolve().as_uri() if isinstance(address, Path) else address)


def find_faults(browser: WebDriver) -> list[str]:
    """Return what is wrong with the page that is open, and what its console says."""
    faults: list[str] = browser.execute_script(_FIND_FAULTS)
    return faults + [f"console: {entry['message']}" for entry in browser.get_log("browser")]


def requests(browser: WebDriver) -> list[str]:
    """Return the addresses that the open page has fetched, or tried to, beside itself and data in it."""
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    return [name for name in browser.execute_script(script) if not name.startswith("data:")]


def check_page(browser: WebDriver, path: Path, width: int | None = None, *, name: str = "") -> None:
    """Check a page on a phone and a desktop, in light and dark, and keep screenshots below $PNEUMO_SCREENSHOTS.

    Args:
        browser: The fixture.
        path: A file that needs no network.
        width: In pixels; None = both of ``WIDTHS``.
        name: Of the screenshots; empty = the file's.
    """
    for pixels in WIDTHS if width is None else (width,):
        for scheme in SCHEMES:
            open_page(browser, path, pixels, scheme)
            keep_screenshot(browser, f"{name or path.stem}-{pixels}-{scheme}")
            assert (pixels, scheme, find_faults(browser)) == (pixels, scheme, [])
            assert requests(browser) == []


def check_print(browser: WebDriver, path: Path) -> bytes:
    """Check that nothing of a page is cut off on A4 paper, where nothing scrolls, and return it as a PDF."""
    open_page(browser, path, PAPER, "dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        keep_screenshot(browser, f"{path.stem}-print")
        assert find_faults(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    return print_to_pdf(browser)


def keep_screenshot(browser: WebDriver, name: str) -> None:
    """Save the whole page as $PNEUMO_SCREENSHOTS/name.png; nothing when the variable is not set."""
    directory = os.environ.get("PNEUMO_SCREENSHOTS")
    if not directory:
        return
    size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}
    picture: dict[str, Any] = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip}
    )
    path = Path(directory) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(picture["data"]))


def print_to_pdf(browser: WebDriver) -> bytes:
    """Return the open page as it is printed on A4, a PDF."""
    printed: dict[str, str] = browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    return base64.b64decode(printed["data"])
