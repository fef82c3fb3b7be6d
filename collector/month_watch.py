"""Keeps this month's figures for /metrics, so that no scrape pays for the month's query.

A scrape takes what is there and asks for more: the query runs on a thread of its own, at most once a minute, and not at
all while nobody scrapes.
"""

import logging
import threading
from collections.abc import Callable

from gputally.collector.database.deadline import TooSlow
from gputally.collector.database.engine import DATABASE_ERRORS
from gputally.collector.month import Month

_LOG = logging.getLogger(__name__)
_US_PER_S = 1_000_000

EVERY_S = 60.0
OLDEST_US = 300 * _US_PER_S  # what is older is not shown: the next scrape has it anew


class MonthWatch:
    """`read` runs the query and may raise what `read_month` does; `monotonic_us` says how old an answer is."""

    def __init__(self, read: Callable[[], Month], monotonic_us: Callable[[], int], every_s: float = EVERY_S) -> None:
        self._read = read
        self._monotonic_us = monotonic_us
        self._every_s = every_s
        self._asked = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="month", daemon=True)
        self._latest: tuple[int, Month] | None = None

    def month(self) -> Month | None:
        """The figures as they were at most five minutes ago, and at once; None where they are not known."""
        self._asked.set()
        latest = self._latest
        if latest is None or self._monotonic_us() - latest[0] > OLDEST_US:
            return None
        return latest[1]

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End the thread after the query it is in."""
        self._stop.set()
        self._asked.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def turn(self) -> None:
        """Read them now; where the database fails, what was known stays until it is too old."""
        at_us = self._monotonic_us()
        try:
            self._latest = at_us, self._read()
        except (TooSlow, *DATABASE_ERRORS) as error:
            _LOG.warning("the month's figures cannot be read, trying again: %s", str(error).partition("\n")[0])

    def _run(self) -> None:
        while not self._stop.is_set():
            self._asked.wait()
            self._asked.clear()
            if not self._stop.is_set():
                self.turn()
            self._stop.wait(self._every_s)
