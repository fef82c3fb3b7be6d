"""Sums of days that are past their months go as wholes, no later than their postings: nobody reads a part of them.

With the first of a month's days its own sums go.
"""

from sqlalchemy import Connection, bindparam, delete, func, select

from gputally.collector.database.schema_day import namespace_day, posting_day, summed_day
from gputally.collector.days.locks import lock_day
from gputally.collector.days.months import drop_months

_OLDEST = select(func.min(summed_day.c.day_us)).where(summed_day.c.end_us <= bindparam("before"))


def drop_oldest(connection: Connection, before_us: int) -> None:
    """Delete the sums of the oldest day that ends at or before `before_us`, if there is one."""
    day_us = connection.execute(_OLDEST, {"before": before_us}).scalar_one()
    if day_us is None:
        return
    lock_day(connection, day_us)
    drop_months(connection, [day_us])
    for table in (summed_day, namespace_day, posting_day):
        connection.execute(delete(table).where(table.c.day_us == day_us))
