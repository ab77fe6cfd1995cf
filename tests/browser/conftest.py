"""A headless Chromium that reaches no network; tests with it have the marker ``browser``."""

import os
import shutil
import warnings
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

pytest.register_assert_rewrite("page_checks")

PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "chromedriver": ("chromedriver",)}
"""Names of the browser and of its driver: Debian's, Ubuntu's, Google's."""


@pytest.fixture(scope="session")
def browser() -> Iterator[WebDriver]:
    """Chromium, of which every name but localhost is unknown."""
    found = {program: next(filter(None, map(shutil.which, names)), None) for program, names in PROGRAMS.items()}
    missing = [program for program, path in found.items() if path is None]
    if missing:
        pytest.skip(f"found no {' and no '.join(missing)}; as root: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = str(found["chromium"])
    options.add_argument("--headless=new")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1")
    options.add_argument("--disable-dev-shm-usage")  # a container's is too small
    options.add_argument("--disable-background-networking")
    options.add_argument("--hide-scrollbars")  # as on a phone, where they take no width
    options.add_argument("--force-color-profile=srgb")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # it refuses to be root's
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with warnings.catch_warnings():
        # urllib3 warns of sockets that selenium leaves to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        driver = webdriver.Chrome(options=options, service=Service(found["chromedriver"]))
        driver.set_page_load_timeout(120)
        yield driver
        driver.quit()
