"""The browser is opened for somebody who sits at this desktop, once there is something to see, and for nobody else."""

import webbrowser

import pytest

from gputally.demo.desktop import FirstPage, is_here, open_page
from gputally.demo.fill import Progress

DESKTOP = {"DISPLAY": ":0"}


@pytest.mark.parametrize(
    ("environ", "platform", "terminal", "expected"),
    [
        (DESKTOP, "linux", True, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True, True),
        ({}, "darwin", True, True),
        ({}, "linux", True, False),
        (DESKTOP, "linux", False, False),
        ({}, "darwin", False, False),
        ({**DESKTOP, "CI": "true"}, "linux", True, False),
        ({"NO_BROWSER": "1"}, "darwin", True, False),
        ({**DESKTOP, "SSH_CONNECTION": "a b"}, "linux", True, False),
        ({**DESKTOP, "CI": ""}, "linux", True, True),
    ],
)
def test_only_from_a_terminal_on_a_desktop(
    environ: dict[str, str], platform: str, *, terminal: bool, expected: bool
) -> None:
    assert is_here(environ, platform, terminal=terminal) is expected


class Browser(webbrowser.BaseBrowser):
    """A browser of a desktop that remembers what it was to open."""

    def __init__(self) -> None:
        super().__init__("browser")
        self.opened: list[str] = []

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        self.opened.append(url)
        return True


def test_it_opens_once_when_a_day_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser()
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    page = FirstPage("http://127.0.0.1:1/", 100)
    for done in (0, 99):
        page.open_when_it_tells(Progress(done, 1000))
    assert browser.opened == []
    for done in (100, 1000):
        page.open_when_it_tells(Progress(done, 1000))
    assert browser.opened == ["http://127.0.0.1:1/"]


def test_a_month_that_is_younger_than_a_day_is_there_when_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser()
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    FirstPage("http://127.0.0.1:1/", 100).open_when_it_tells(Progress(7, 7))
    assert len(browser.opened) == 1


def test_a_browser_that_draws_in_the_terminal_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.GenericBrowser("false"))
    assert not open_page("http://127.0.0.1:1/")


def test_no_browser_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> webbrowser.BaseBrowser:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", none)
    assert not open_page("http://127.0.0.1:1/")
