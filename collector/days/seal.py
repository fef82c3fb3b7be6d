"""Days that are over, by namespace: so a month by namespace is some thousand rows, however many nodes there are.

A sealed day is one that nobody changed since. What arrives late opens it, in the transaction that changes it, and
it is sealed anew when its postings are settled.
"""

from sqlalchemy import Connection, bindparam, exists, select, update

from gputally.collector.database.schema import dirty_hour
from gputally.collector.database.schema_day import summed_day
from gputally.collector.days.calendar import Day
from gputally.collector.days.locks import lock_day
from gputally.collector.days.places import sum_places

_WAITS = exists().where(dirty_hour.c.hour_us >= summed_day.c.day_us, dirty_hour.c.hour_us < summed_day.c.end_us)
_NEXT = (
    select(summed_day.c.day_us, summed_day.c.end_us)
    .where(summed_day.c.sealed == 0, summed_day.c.end_us <= bindparam("now"), ~_WAITS)
    .order_by(summed_day.c.day_us.desc())
    .limit(1)
)
_OPEN = select(summed_day.c.day_us).where(summed_day.c.day_us == bindparam("day"), summed_day.c.sealed == 0)
_SEAL = update(summed_day).where(summed_day.c.day_us == bindparam("day")).values(sealed=1)


def next_to_seal(connection: Connection, now_us: int) -> Day | None:
    """The newest day before `now_us` that is not sealed and none of whose hours waits to be settled."""
    found = connection.execute(_NEXT, {"now": now_us}).one_or_none()
    return None if found is None else Day(*found)


def seal(connection: Connection, day: Day) -> None:
    """Make a day's sums by namespace and model, where they are not made."""
    lock_day(connection, day.start_us)
    if connection.execute(_OPEN, {"day": day.start_us}).one_or_none() is not None:
        sum_places(connection, day.start_us)
        connection.execute(_SEAL, {"day": day.start_us})
