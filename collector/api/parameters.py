"""The parameters of the API's addresses, named as OpenCost's allocation API names them, and what they mean here."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cache, partial
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field

from gputally.accounting.ledger_hour import to_us
from gputally.accounting.states import State
from gputally.collector.allocation.asked_period import asked_period
from gputally.collector.allocation.filter import EVERYTHING, FilterError, parse_filter
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period, PeriodError
from gputally.collector.allocation.query import Query, Scope, Spread
from gputally.collector.allocation.steps import Step, midnight
from gputally.collector.api.problems import QueryMistakes
from gputally.collector.settings import nearest

MAX_ROWS = 10_000  # of one answer; the rest is asked for with offset
_LONGEST = 4096
_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")


class Format(StrEnum):
    """How an answer is written."""

    JSON = "json"
    CSV = "csv"


Window = Annotated[
    str,
    Field(
        max_length=100,
        description=(
            "today, yesterday, week, lastweek, month, lastmonth, a month (2026-11), a length up to now (24h, 7d), or "
            "two instants with a comma, RFC 3339 or seconds since the epoch. Edges are ledger hours."
        ),
        examples=["month", "7d", "2026-11-01T00:00:00Z,2026-11-02T00:00:00Z"],
    ),
]
FilterText = Annotated[
    str,
    Field(
        max_length=_LONGEST,
        description=(
            'Which time counts: key:"value","value" with + between conditions; ":" one of, "!:" none of, "<~:" begins '
            'with, "!<~:" begins with none.'
        ),
        examples=['namespace:"search","vision"+model<~:"NVIDIA H100"'],
    ),
]
TimeZone = Annotated[
    str | None,
    Field(max_length=100, description="IANA time zone of days and instants. Default: the billing time zone."),
]
AsOf = Annotated[
    str | None,
    Field(
        alias="asOf",
        max_length=100,
        description="By what was known at this instant (RFC 3339), or at the end of this day. Default: now.",
        examples=["2026-11-30"],
    ),
]


class Parameters(BaseModel):
    """What every list has."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    limit: int = Field(default=1000, ge=1, le=MAX_ROWS, description="Rows at most.")
    offset: int = Field(default=0, ge=0, le=2**31, description="Rows to leave out before.")


class LedgerParameters(Parameters):
    """What every question to the ledger has."""

    window: Window = "month"
    filter: FilterText = ""
    tz: TimeZone = None
    as_of: AsOf = None
    format: Format = Field(default=Format.JSON, description="How the answer is written.")


def ledger_query(
    given: LedgerParameters,
    billing: ZoneInfo,
    now_us: int,
    scope: Scope,
    *,
    by: Sequence[By],
    step: Step | None = None,
    states: Sequence[State] = tuple(State),
    spread: Spread = Spread.NONE,
    mistakes: list[tuple[str, str]] | None = None,
) -> Query:
    """The question that parameters ask; raises QueryMistakes with everything that is wrong with them."""
    found = [] if mistakes is None else mistakes
    zone = _try(found, "tz", lambda: zone_of(given.tz, billing), billing)
    period = _try(found, "window", lambda: asked_period(given.window, zone, now_us), Period(0, 1))
    where = _try(found, "filter", lambda: parse_filter(given.filter), EVERYTHING)
    as_of_us = _try(found, "asOf", lambda: instant_of(given.as_of, zone), None)
    if found:
        raise QueryMistakes(found)
    return Query(period, zone, tuple(by), step, where, tuple(states), spread, scope, as_of_us)


def zone_of(name: str | None, billing: ZoneInfo) -> ZoneInfo:
    """A zone by its name; raises ValueError that says the nearest."""
    if name is None or name == billing.key:
        return billing
    if name not in _zones():
        raise ValueError(f"{name}: no such time zone{nearest(name, sorted(_zones()))}")
    return ZoneInfo(name)


def instant_of(text: str | None, zone: ZoneInfo) -> int | None:
    """The last microsecond of what a day or an instant names; raises ValueError."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-11-30"):
            day = date.fromisoformat(text)
            return midnight(date.fromordinal(day.toordinal() + 1), zone) - 1
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f"{text}: expected a day, such as 2026-11-30, or an instant with its offset")
    return to_us(at)


def choices(name: str, text: str, known: type[Choice], mistakes: list[tuple[str, str]]) -> list[Choice]:
    """The choices of a list with commas, each once; what is no choice goes to `mistakes`."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    for part in names:
        if part not in list(known):
            hint = nearest(part, list(known)) or f": expected one of {', '.join(known)}"
            mistakes.append((name, f"{part}: there is no such name{hint}"))
    return list(dict.fromkeys(known(part) for part in names if part in list(known)))


def month_of(text: str, zone: ZoneInfo, now_us: int) -> Period:
    """The month that `text` names; raises QueryMistakes."""
    if text not in ("month", "lastmonth") and not _MONTH.fullmatch(text):
        raise QueryMistakes([("month", f"{text}: expected a month, such as 2026-11, month or lastmonth")])
    mistakes: list[tuple[str, str]] = []
    period = _try(mistakes, "month", lambda: asked_period(text, zone, now_us), Period(0, 1))
    if mistakes:
        raise QueryMistakes(mistakes)
    return period


def period_of(window: str, tz: str | None, billing: ZoneInfo, now_us: int) -> tuple[Period, ZoneInfo]:
    """The period that `window` names and the zone it is told in; raises QueryMistakes."""
    mistakes: list[tuple[str, str]] = []
    zone = _try(mistakes, "tz", lambda: zone_of(tz, billing), billing)
    period = _try(mistakes, "window", lambda: asked_period(window, zone, now_us), Period(0, 1))
    if mistakes:
        raise QueryMistakes(mistakes)
    return period, zone


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _try(mistakes: list[tuple[str, str]], name: str, parse: Callable[[], Value], otherwise: Value) -> Value:
    try:
        return parse()
    except PeriodError as error:
        mistakes += [(name, message) for message in error.mistakes]
    except (FilterError, ValueError) as error:
        mistakes.append((name, str(error)))
    return otherwise


@dataclass(frozen=True, slots=True)
class Dated:
    """Instants asked for by name, None where they were left out, and the zone that they are printed in."""

    zone: ZoneInfo
    us: Mapping[str, int | None]


def dated(tz: str | None, texts: Mapping[str, str | None], billing: ZoneInfo) -> Dated:
    """The days and instants that parameters name; raises QueryMistakes with everything that is wrong with them."""
    mistakes: list[tuple[str, str]] = []
    zone = _try(mistakes, "tz", lambda: zone_of(tz, billing), billing)
    found: dict[str, int | None] = {}
    for name, text in texts.items():
        found[name] = _try(mistakes, name, partial(instant_of, text, zone), None)
    if mistakes:
        raise QueryMistakes(mistakes)
    return Dated(zone, found)
