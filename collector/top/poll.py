"""Facts read again and again on a thread of their own, so that a slow database never holds up the keys."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from gputally.collector.top.facts import Facts


class CannotRead(Exception):
    """The database gives no facts now; the message says why, and may be different next time."""


@dataclass(frozen=True, slots=True)
class News:
    """The newest facts, if any were ever read, and why the last try found none; `turns` counts tries."""

    facts: Facts | None = None
    problem: str = ""
    turns: int = 0


class Poll:
    """Reads by `read`, which raises CannotRead; what it raises else ends the thread and is kept as `error`."""

    def __init__(self, read: Callable[[], Facts], interval_s: float) -> None:
        self._read = read
        self._interval_s = interval_s
        self.news = News()
        self.error: BaseException | None = None

    def turn(self) -> None:
        """Read once; where that fails, the facts from before stay."""
        before = self.news
        try:
            self.news = News(self._read(), "", before.turns + 1)
        except CannotRead as error:
            self.news = News(before.facts, str(error), before.turns + 1)

    def run(self, stop: threading.Event) -> None:
        """Read at each interval until told to stop."""
        try:
            while not stop.is_set():
                self.turn()
                stop.wait(self._interval_s)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever looks at the screen
            self.error = error

    def check(self) -> None:
        """Raise what ended the thread."""
        if self.error:
            raise self.error
