"""Keeps this month's burns for /metrics, so that no scrape pays for the month's query.

A scrape takes what is there and asks for more: the query runs on a thread of its own, at most once a minute, and not at
all while nobody scrapes.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from gputally.collector.allocation.period import parse_period
from gputally.collector.allocation.query import WHOLE
from gputally.collector.burn import Burn, burns
from gputally.collector.database.deadline import TooSlow, reading_within
from gputally.collector.database.engine import DATABASE_ERRORS

_LOG = logging.getLogger(__name__)
_US_PER_S = 1_000_000

EVERY_S = 60.0
DEADLINE_S = 60.0
OLDEST_US = 300 * _US_PER_S  # what is older is not shown: the next scrape has it anew


def read_burns(engine: Engine, billing: ZoneInfo, now_us: int) -> list[Burn]:
    """The budgets of the month that holds `now_us`, as the postings are; raises TooSlow and DATABASE_ERRORS."""
    month = parse_period(None, None, None, billing, now_us)
    with reading_within(engine, DEADLINE_S) as connection:
        return burns(connection, billing, month, now_us, WHOLE)


class BurnWatch:
    """`read` runs the query and may raise what `read_burns` does; `monotonic_us` says how old an answer is."""

    def __init__(
        self, read: Callable[[], Sequence[Burn]], monotonic_us: Callable[[], int], every_s: float = EVERY_S
    ) -> None:
        self._read = read
        self._monotonic_us = monotonic_us
        self._every_s = every_s
        self._asked = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="burns", daemon=True)
        self._latest: tuple[int, tuple[Burn, ...]] | None = None

    def burns(self) -> tuple[Burn, ...] | None:
        """The burns as they were at most five minutes ago, and at once; None where they are not known."""
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
            self._latest = at_us, tuple(self._read())
        except (TooSlow, *DATABASE_ERRORS) as error:
            _LOG.warning("the budgets cannot be read, trying again: %s", str(error).partition("\n")[0])

    def _run(self) -> None:
        while not self._stop.is_set():
            self._asked.wait()
            self._asked.clear()
            if not self._stop.is_set():
                self.turn()
            self._stop.wait(self._every_s)
