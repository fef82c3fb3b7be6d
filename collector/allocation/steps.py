"""The calendar of the billing time zone: where its days, ISO weeks and months begin, and a period cut at them."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import from_us, hour_end, to_us
from gputally.collector.allocation.period import Period


class Step(StrEnum):
    """How long the steps of an answer are; a week begins on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def steps(period: Period, step: Step, zone: ZoneInfo) -> Iterator[Period]:
    """The period cut at each beginning of a step of the zone, going forward; the first and the last may be shorter."""
    at = period.start_us
    while at < period.end_us:
        end = min(step_end(at, step, zone), period.end_us)
        yield Period(at, end)
        at = end


def step_end(at_us: int, step: Step, zone: ZoneInfo) -> int:
    """The first beginning of a step after the instant `at_us`; an hour is a ledger hour that begins there."""
    if step is Step.HOUR:
        return hour_end(at_us, zone)
    return midnight(following(local_date(at_us, zone), step), zone)


def first_of(day: date, step: Step) -> date:
    """The first day of the day's week or month."""
    if step is Step.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if step is Step.MONTH else day


def following(day: date, step: Step) -> date:
    """The first day of the next step."""
    first = first_of(day, step)
    if step is Step.MONTH:
        return first_of(first + timedelta(days=31), step)
    return first + timedelta(days=7 if step is Step.WEEK else 1)


def local_date(us: int, zone: tzinfo) -> date:
    """The day that the zone's calendar shows at an instant."""
    return from_us(us).astimezone(zone).date()


def midnight(day: date, zone: tzinfo) -> int:
    """When a day begins, microseconds since the epoch: of two midnights the first, of a skipped one the change."""
    return to_us(datetime(day.year, day.month, day.day, tzinfo=zone))
