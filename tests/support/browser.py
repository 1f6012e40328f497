"""A real browser for tests: Chromium, driven by playwright, and an annotator who is logged in to Label Studio."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from demo.stack import PASSWORD, USER

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

# Of the page on which an annotator judges.
SUBMIT = "[data-testid=bottombar-submit-button]"
LIT = """() => [...document.querySelectorAll(".answer, .pairloop-answer")].map(
    answer => getComputedStyle(answer).boxShadow !== "none")"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser. Without one the test is skipped, and in CI it fails."""
    if _CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have Chromium; .ci/run installs it")
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def logged_in(browser: Browser, url: str, *, width: int = 1300, height: int = 950) -> Page:
    """A page whose user is logged in to that Label Studio."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(f"{url}/user/login/")
    page.fill("input[name=email]", USER)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(re.compile(r"/(projects)?/?$"))
    return page
