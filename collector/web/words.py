"""Figures as people read them. What is not known is said so, and never printed as 0."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import HOUR_US, from_us
from gputally.collector.allocation.money import Money
from gputally.collector.rates.cost import rounded
from gputally.collector.statement import rounding
from gputally.collector.statement.currency import decimals

UNKNOWN = "unknown"
UNPRICED = "unpriced"
_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant for a <time> element: for machines, and for people in the billing time zone."""

    iso: str
    text: str


class Figure(NamedTuple):
    """A number in words, and what it counts."""

    text: str
    unit: str = ""


def hours(values_us: Sequence[int], digits: int = 1) -> list[str]:
    """GPU-hours of a column; what is printed adds up to the printed sum."""
    return [grouped(text) for text in rounding.hours(values_us, digits)]


def money(costs: Sequence[int | None], currency: str) -> list[str]:
    """Costs of a column (as `rates.cost` counts), with the currency's decimals; they add up to the printed sum."""
    digits = decimals(currency)
    known = iter(rounded([cost for cost in costs if cost is not None], digits))
    return [UNPRICED if cost is None else grouped(rounding.fixed(next(known), digits)) for cost in costs]


def priced(cost: int | None, currency: str) -> Figure:
    """One cost with its currency."""
    return Figure(UNPRICED) if cost is None else Figure(money([cost], currency)[0], currency)


def whole_cost(of: Money) -> int | None:
    """Time, energy and what the building draws besides, as a statement adds them up; None: nothing has a price."""
    parts = [part for part in (of.cost, of.energy, of.overhead) if part is not None]
    return sum(parts) if parts else None


def percent(part: int, whole: int) -> str:
    """Rounded down, so that 100 % is printed only where nothing is missing, and 0 % where nothing is there; unknown of
    nothing."""
    if not whole:
        return UNKNOWN
    permille = part * 1000 // whole
    if part and not permille:
        return "<0.1\N{NO-BREAK SPACE}%"
    return f"{permille // 10}.{permille % 10}\N{NO-BREAK SPACE}%"


def duration(us: int) -> str:
    """How long, in its two largest units."""
    minutes = us // _MINUTE_US
    days, hours_, left = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = ((days, "d"), (hours_, "h")) if days else ((hours_, "h"), (left, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "less than a minute"


def number(count: int, noun: str) -> str:
    """`1 node`, `1,024 nodes`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def moment(us: int, zone: ZoneInfo) -> Moment:
    """An instant in the billing time zone."""
    local = from_us(us).astimezone(zone)
    return Moment(local.isoformat(timespec="seconds"), f"{local.day} {local:%b %Y, %H:%M}")


def day(us: int, zone: ZoneInfo) -> str:
    """The day that holds an instant."""
    local = from_us(us).astimezone(zone)
    return f"{local:%a} {local.day} {local:%b}"


def month(name: str) -> str:
    """2026-11 as November 2026."""
    return f"{datetime.strptime(name, '%Y-%m'):%B %Y}"  # noqa: DTZ007 - a month has no zone


def memory(byte_s: int | None, us: int) -> str:
    """The mean memory over a stretch of time."""
    if byte_s is None or not us:
        return UNKNOWN
    return f"{byte_s * 1_000_000 / us / 2**30:,.1f} GiB"


def energy(mj: int | None) -> str:
    """Millijoules as kilowatt-hours."""
    return UNKNOWN if mj is None else f"{mj / HOUR_US:,.1f} kWh"


def grouped(text: str) -> str:
    """A decimal with separators of thousands."""
    return f"{Decimal(text):,}"
