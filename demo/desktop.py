"""Opens the demo's first page in the browser of the desktop, where somebody sits at one."""

import webbrowser
from collections.abc import Mapping

from gputally.demo.fill import Progress


def is_here(environ: Mapping[str, str], platform: str, *, terminal: bool) -> bool:
    """Whether a browser may be opened: from a terminal, on a desktop, by no automation, and nobody said NO_BROWSER."""
    if not terminal or any(environ.get(name) for name in ("CI", "NO_BROWSER", "SSH_CONNECTION")):
        return False
    return platform == "darwin" or any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


class FirstPage:
    """A page that is opened once, when `minutes` of nodes are back-filled: before that it would tell nothing."""

    def __init__(self, url: str, minutes: int) -> None:
        self._url = url
        self._minutes = minutes
        self._opened = False

    def open_when_it_tells(self, progress: Progress) -> None:
        """Open it if it is time, and it was not opened before."""
        if not self._opened and progress.done >= min(self._minutes, progress.total):
            self._opened = True
            open_page(self._url)


def open_page(url: str) -> bool:
    """Whether a browser took the page. One that would draw in this terminal is not asked."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    draws_here = type(browser) is webbrowser.GenericBrowser  # those of a desktop are subclasses of their own
    return not draws_here and browser.open(url)
