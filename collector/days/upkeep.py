"""What is left to do for sums: old days are summed, days that are over are sealed, months are made of them; one of each
in a turn.
"""

from collections.abc import Callable
from datetime import tzinfo

from sqlalchemy import Engine, bindparam, func, select

from gputally.collector.database.engine import reading, writing
from gputally.collector.database.schema import posting
from gputally.collector.database.schema_day import summed_day
from gputally.collector.days.calendar import Day, day_of
from gputally.collector.days.months import next_to_sum, sum_month
from gputally.collector.days.seal import next_to_seal, seal
from gputally.collector.days.sums import sum_day

_NEWEST = select(func.max(posting.c.hour_us)).where(posting.c.hour_us < bindparam("before"))
_SUMMED = select(summed_day.c.day_us).where(summed_day.c.day_us == bindparam("day"))
_LOOKS = 100  # days in one turn of which it is only asked whether they are summed


class Days:
    """Goes once from the newest day to the oldest, for those that an earlier version has booked; then it only seals.

    `now_us` is the wall clock.
    """

    def __init__(self, engine: Engine, zone: tzinfo, now_us: Callable[[], int]) -> None:
        self._engine = engine
        self._zone = zone
        self._now_us = now_us
        self._before_us: int | None = 2**63 - 1  # days from here on are summed; None: all are

    def turn(self) -> None:
        """Sum a day, seal a day and sum a month, where there are any; raises one of DATABASE_ERRORS."""
        self._sum_day()
        self._seal_day()
        self._sum_month()

    def _sum_day(self) -> None:
        day = self._unsummed()
        if day is not None:
            with writing(self._engine) as connection:
                sum_day(connection, day)
            self._before_us = day.start_us

    def _seal_day(self) -> None:
        with reading(self._engine) as connection:
            over = next_to_seal(connection, self._now_us())
        if over is not None:
            with writing(self._engine) as connection:
                seal(connection, over)

    def _sum_month(self) -> None:
        with reading(self._engine) as connection:
            month = next_to_sum(connection, self._zone, self._now_us())
        if month is not None:
            with writing(self._engine) as connection:
                sum_month(connection, month)

    def _unsummed(self) -> Day | None:
        """The newest day with postings that has no sums, as far as this turn looks."""
        if self._before_us is None:
            return None
        with reading(self._engine) as connection:
            for _ in range(_LOOKS):
                hour_us = connection.execute(_NEWEST, {"before": self._before_us}).scalar_one()
                if hour_us is None:
                    self._before_us = None
                    return None
                day = day_of(hour_us, self._zone)
                if connection.execute(_SUMMED, {"day": day.start_us}).one_or_none() is None:
                    return day
                self._before_us = day.start_us
        return None
