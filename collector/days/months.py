"""Months that are over, by namespace: made of their days when all of these are sealed, and gone with the first that is
not.

A month's sums are true as long as they are there: whoever opens one of its days, sums one for the first time, or drops
one, drops them in the same transaction, and whoever makes them is alone with all that do so. No posting is missing from
them, because a month is only made where every stretch of it without a summed day has no postings.
"""

from collections.abc import Iterable
from datetime import tzinfo

from sqlalchemy import BigInteger, Connection, Insert, bindparam, cast, delete, exists, func, insert, select

from gputally.collector.database.fingerprint import SUM_MASK
from gputally.collector.database.schema import posting
from gputally.collector.database.schema_day import namespace_day, summed_day
from gputally.collector.database.schema_month import SUMS, namespace_month, summed_month
from gputally.collector.days.calendar import Month, month_of
from gputally.collector.days.locks import lock_months

_OF_DAY = summed_month.c.month_us <= bindparam("day"), summed_month.c.end_us > bindparam("day")
_DROP_SUMS = delete(namespace_month).where(
    namespace_month.c.month_us.in_(select(summed_month.c.month_us).where(*_OF_DAY))
)
_DROP = delete(summed_month).where(*_OF_DAY)
_HELD = exists().where(summed_month.c.month_us <= summed_day.c.day_us, summed_month.c.end_us > summed_day.c.day_us)
_LEFT = select(summed_day.c.day_us).where(summed_day.c.day_us < bindparam("before"), ~_HELD)
_DAYS = (
    select(summed_day.c.day_us, summed_day.c.end_us, summed_day.c.sealed)
    .where(summed_day.c.day_us >= bindparam("start"), summed_day.c.day_us < bindparam("end"))
    .order_by(summed_day.c.day_us)
)
_POSTED = select(
    exists(
        select(posting.c.hour_us).where(posting.c.hour_us >= bindparam("start"), posting.c.hour_us < bindparam("end"))
    )
)


def next_to_sum(connection: Connection, zone: tzinfo, now_us: int) -> Month | None:
    """The newest month before the one of `now_us` that can be summed and is not."""
    left = connection.scalars(_LEFT, {"before": month_of(now_us, zone).start_us})
    months = sorted({month_of(day_us, zone) for day_us in left}, reverse=True)
    return next((month for month in months if _is_whole(connection, month)), None)


def sum_month(connection: Connection, month: Month) -> None:
    """Make a month's sums, if it still can be summed."""
    lock_months(connection)
    for table in (namespace_month, summed_month):  # of another that was faster
        connection.execute(delete(table).where(table.c.month_us == month.start_us))
    if _is_whole(connection, month):
        connection.execute(_SUM, {"month": month.start_us, "end": month.end_us})
        connection.execute(insert(summed_month), {"month_us": month.start_us, "end_us": month.end_us})


def drop_months(connection: Connection, days_us: Iterable[int]) -> None:
    """Forget the sums of the months of some days. It is the last lock that a transaction takes: see `locks`."""
    lock_months(connection)
    for day_us in days_us:
        connection.execute(_DROP_SUMS, {"day": day_us})
        connection.execute(_DROP, {"day": day_us})


def _is_whole(connection: Connection, month: Month) -> bool:
    """Whether sealed days have all of its postings."""
    days = connection.execute(_DAYS, {"start": month.start_us, "end": month.end_us}).all()
    if not days or not all(sealed for _, _, sealed in days):
        return False
    ends = (month.start_us, *(end_us for _, end_us, _ in days))
    starts = (*(start_us for start_us, _, _ in days), month.end_us)
    between = ({"start": end_us, "end": start_us} for end_us, start_us in zip(ends, starts, strict=True))
    return not any(connection.scalars(_POSTED, gap).one() for gap in between if gap["start"] < gap["end"])


def _by_place() -> Insert:
    row = namespace_day.c
    edges = {"first_us": func.min(row.first_us), "last_us": func.max(row.last_us)}
    sums = {name: cast(func.sum(row[name]), BigInteger) for name in SUMS if name not in edges}
    sums["hash"] = cast(func.sum(row.hash.bitwise_and(SUM_MASK)), BigInteger)
    told = {"month_us": bindparam("month", type_=BigInteger), **edges, **sums, "place_id": row.place_id}
    found = select(*(column.label(name) for name, column in told.items()))
    found = found.where(row.day_us >= bindparam("month"), row.day_us < bindparam("end")).group_by(row.place_id)
    return insert(namespace_month).from_select(list(told), found)


_SUM = _by_place()
