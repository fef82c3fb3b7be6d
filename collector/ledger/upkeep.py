"""One turn of what keeps the ledger true: silence is booked, what is past its time goes, what changed is settled, and
days that are over are summed."""

from collections.abc import Callable
from datetime import tzinfo

from sqlalchemy import Engine

from gputally.collector.days.upkeep import Days
from gputally.collector.ledger.postings import settle
from gputally.collector.ledger.retention import Retention
from gputally.collector.ledger.silence import book_silence


class Upkeep:
    """`absent_after_us` is how long a device may be silent before it is absent; `now_us` is the wall clock."""

    def __init__(
        self, engine: Engine, zone: tzinfo, absent_after_us: int, retention: Retention, now_us: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._zone = zone
        self._absent_after_us = absent_after_us
        self._retention = retention
        self._now_us = now_us
        self._days = Days(engine, zone, now_us)

    def turn(self) -> int:
        """How many pairs of hour and node were recomputed; raises one of DATABASE_ERRORS."""
        book_silence(self._engine, self._zone, self._now_us(), self._absent_after_us)
        self._retention.turn()
        settled = settle(self._engine, self._zone)
        self._days.turn()
        return settled
