"""The period that a query's `window` asks for, spelt as OpenCost spells it: a name, a length, or two instants."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import HOUR_US, hour_end, hour_start, to_us
from gputally.collector.allocation.period import Period, PeriodError, instant, parse_period
from gputally.collector.allocation.steps import Step, first_of, following, local_date, midnight
from gputally.collector.settings import nearest

LONGEST_DAYS = 800  # postings are kept for 25 months

_LENGTH = re.compile(r"([1-9]\d{0,5})([hd])", re.ASCII)
_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)
_UNIX = re.compile(r"\d{1,11}", re.ASCII)
_DAY_US = 24 * HOUR_US
_EXPECTED = (
    "a name (today, yesterday, week, lastweek, month, lastmonth), a month (2026-11), a length up to now (24h, 7d), or "
    "two instants with a comma (2026-11-01T00:00:00Z,2026-11-02T00:00:00Z; seconds since the epoch do as well)"
)


def asked_period(text: str, zone: ZoneInfo, now_us: int) -> Period:
    """The period of whole ledger hours of the zone that `text` names; raises PeriodError.

    Days, weeks (from Monday) and months are whole, also the one that holds `now_us`. A length ends with the ledger
    hour that holds `now_us`.
    """
    period = _parse(text.strip(), zone, now_us)
    if period.end_us - period.start_us > LONGEST_DAYS * _DAY_US:
        raise PeriodError([f"{text}: longer than the {LONGEST_DAYS} days that the ledger keeps"])
    return period


def _parse(text: str, zone: ZoneInfo, now_us: int) -> Period:
    if text in _NAMES:
        return _NAMES[text](local_date(now_us, zone), zone)
    if match := _LENGTH.fullmatch(text):
        return _back(int(match[1]) * (HOUR_US if match[2] == "h" else _DAY_US), zone, now_us)
    if _MONTH.fullmatch(text):
        return _month(text, zone)
    start, comma, end = text.partition(",")
    if not comma:
        raise PeriodError([f"{text}: expected {_EXPECTED}{nearest(text, list(_NAMES))}"])
    return _between(start.strip(), end.strip(), zone)


def _whole(step: Step, ago: int) -> Callable[[date, ZoneInfo], Period]:
    """The step that holds a day, or the one before it."""

    def period(day: date, zone: ZoneInfo) -> Period:
        first = first_of(day, step)
        if ago:
            first = first_of(first - timedelta(days=1), step)
        return Period(midnight(first, zone), midnight(following(first, step), zone))

    return period


_NAMES: Mapping[str, Callable[[date, ZoneInfo], Period]] = {
    "today": _whole(Step.DAY, 0),
    "yesterday": _whole(Step.DAY, 1),
    "week": _whole(Step.WEEK, 0),
    "lastweek": _whole(Step.WEEK, 1),
    "month": _whole(Step.MONTH, 0),
    "lastmonth": _whole(Step.MONTH, 1),
}


def _back(length_us: int, zone: ZoneInfo, now_us: int) -> Period:
    if length_us > LONGEST_DAYS * _DAY_US:
        raise PeriodError([f"longer than the {LONGEST_DAYS} days that the ledger keeps"])
    end_us = hour_end(hour_start(now_us, zone), zone)
    return Period(hour_start(end_us - length_us, zone), end_us)


def _month(text: str, zone: ZoneInfo) -> Period:
    try:
        return parse_period(text, None, None, zone, 0)
    except PeriodError as error:
        raise PeriodError([f"{text}: no such month; expected YYYY-MM, such as 2026-11"]) from error


def _between(start: str, end: str, zone: ZoneInfo) -> Period:
    mistakes: list[str] = []
    edges = [_edge(text, zone, mistakes) for text in (start, end)]
    if not mistakes and edges[0] >= edges[1]:
        mistakes.append(f"{start} is not before {end}")
    if mistakes:
        raise PeriodError(mistakes)
    return Period(*edges)


def _edge(text: str, zone: ZoneInfo, mistakes: list[str]) -> int:
    """One edge in microseconds; what is wrong with it goes to `mistakes`."""
    us = _instant(text)
    if us is None or not 0 <= us < _LAST_US:
        mistakes.append(
            f"{text!r}: expected an instant with its offset, such as 2026-11-01T00:00:00Z (in a URL a + is written "
            "%2B), or seconds since the epoch, between 1970 and 2999"
        )
        return 0
    before = hour_start(us, zone)
    if us != before:
        near = f"{instant(before, zone)} or {instant(hour_end(before, zone), zone)}"
        mistakes.append(f"{text}: no ledger hour of {zone.key} begins there; the nearest are {near}")
    return us


_LAST_US = 32_503_680_000_000_000  # the year 3000: calendars still work there, in every zone


def _instant(text: str) -> int | None:
    if _UNIX.fullmatch(text):
        return int(text) * 1_000_000
    try:
        found = datetime.fromisoformat(text)
        return to_us(found) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
