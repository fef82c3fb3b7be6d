"""The days and months of the billing time zone, which are whole ledger hours."""

from datetime import timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple

from gputally.collector.allocation.steps import Step, first_of, following, local_date, midnight


class Day(NamedTuple):
    """[start_us, end_us), microseconds since the epoch."""

    start_us: int
    end_us: int


class Month(NamedTuple):
    """[start_us, end_us), microseconds since the epoch."""

    start_us: int
    end_us: int


@lru_cache(4096)  # 25 months, and those that settle ask for the same few again and again
def day_of(us: int, zone: tzinfo) -> Day:
    """The day that holds an instant."""
    date = local_date(us, zone)
    return Day(midnight(date, zone), midnight(date + timedelta(days=1), zone))


@lru_cache(4096)
def month_of(us: int, zone: tzinfo) -> Month:
    """The month that holds an instant."""
    first = first_of(local_date(us, zone), Step.MONTH)
    return Month(midnight(first, zone), midnight(following(first, Step.MONTH), zone))
