"""Which stretch of the ledger a report is about: whole ledger hours in the billing time zone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import from_us, hour_end, hour_start, to_us

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)


class PeriodError(ValueError):
    """A period that the ledger cannot report on; `mistakes` names everything that is wrong with it."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Period:
    """[start_us, end_us), microseconds since the epoch; both are the start of a ledger hour."""

    start_us: int
    end_us: int


def parse_period(month: str | None, start: str | None, end: str | None, zone: ZoneInfo, now_us: int) -> Period:
    """The period that `--month`, or `--from` and `--to`, ask for; without any of them the month that holds `now_us`.

    Raises PeriodError.
    """
    if start is None and end is None:
        return _month(month, zone, now_us)
    if month is not None:
        raise PeriodError(["--month and --from/--to exclude each other: give one of them"])
    if start is None or end is None:
        raise PeriodError(["--from and --to go together: give both, such as --from 2026-11-01T00:00:00Z --to …"])
    return _stretch(start, end, zone)


def instant(us: int, zone: ZoneInfo) -> str:
    """An instant as RFC 3339 text in the zone, as --from and --to take it."""
    return from_us(us).astimezone(zone).isoformat()


def _month(text: str | None, zone: ZoneInfo, now_us: int) -> Period:
    if text is None:
        today = from_us(now_us).astimezone(zone)
        return _whole_month(today.year, today.month, zone)
    match = _MONTH.fullmatch(text)
    if match is None or not 1970 <= int(match[1]) < 9999:
        raise PeriodError([f"--month {text}: expected YYYY-MM, such as 2026-11"])
    return _whole_month(int(match[1]), int(match[2]), zone)


def _whole_month(year: int, month: int, zone: ZoneInfo) -> Period:
    following = (year + 1, 1) if month == 12 else (year, month + 1)
    first, last = (to_us(datetime(*first, 1, tzinfo=zone)) for first in ((year, month), following))
    return Period(first, last)


def _stretch(start: str, end: str, zone: ZoneInfo) -> Period:
    mistakes: list[str] = []
    edges = [_edge(name, text, zone, mistakes) for name, text in (("--from", start), ("--to", end))]
    if not mistakes and edges[0] >= edges[1]:
        mistakes.append(f"--from {start} is not before --to {end}")
    if mistakes:
        raise PeriodError(mistakes)
    return Period(*edges)


def _edge(name: str, text: str, zone: ZoneInfo, mistakes: list[str]) -> int:
    """One edge in microseconds; what is wrong with it goes to `mistakes`."""
    try:
        edge = datetime.fromisoformat(text)
    except ValueError:
        edge = None
    if edge is None or edge.tzinfo is None:
        mistakes.append(f"{name} {text}: expected an instant with its offset, such as 2026-11-01T00:00:00Z")
        return 0
    us = to_us(edge)
    before = hour_start(us, zone)
    if us != before:
        near = f"{instant(before, zone)} or {instant(hour_end(before, zone), zone)}"
        mistakes.append(f"{name} {text}: no ledger hour of {zone.key} begins there; the nearest are {near}")
    return us
