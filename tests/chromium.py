"""A Chromium that tests look at pages with; tests are skipped where there is none."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextlib.contextmanager
def browser() -> Iterator:
    """Yields Playwright's browser, the Chromium of this machine. Nothing is downloaded."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on this machine; pages are not looked at")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield chromium
        finally:
            chromium.close()


class Watched:
    """A page of a browser, and what it complained of and asked for.

    Attributes:
      page: Playwright's.
      errors: what stood in the console as an error, and exceptions that nobody caught.
      hosts: of the addresses that it asked for, but for those that hold their content.
    """

    def __init__(self, chromium, **context):
        self.page = chromium.new_context(**context).new_page()
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.page.on(
            "console",
            lambda message: message.type == "error" and self.errors.append(message.text),
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)

    def _asked(self, request) -> None:
        if not request.url.startswith(("data:", "blob:", "file:")):
            self.hosts.add(request.url.split("/")[2])
