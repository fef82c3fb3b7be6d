"""A real Chromium that opens the pages: what it logs, and whom it asks, is written down."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser: pip install playwright")

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Where Chromium is; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """A running browser without a window."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # root has no user namespaces to build one from
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium(), args=sandbox)
        try:
            yield found
        finally:
            found.close()


class Watched:
    """A tab, what it logged, and the addresses that it asked for."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.url = url
        self.logged: list[str] = []
        self.asked: list[str] = []
        self._context = browser.new_context(base_url=url, **options)
        self.tab = self._context.new_page()
        self.tab.on("console", lambda message: self.logged.append(message.text))
        self.tab.on("pageerror", lambda error: self.logged.append(str(error)))
        self.tab.on("requestfailed", lambda request: self.logged.append(f"failed: {request.url}"))
        self.tab.on("request", lambda request: self.asked.append(request.url))

    def open(self, path: str) -> Any:
        """Go to a path; the tab."""
        self.tab.goto(path)
        return self.tab

    def close(self) -> None:
        """Close the tab, having found nothing wrong with it."""
        self._context.close()
        assert not self.logged
        assert [asked for asked in self.asked if not asked.startswith(self.url)] == []
