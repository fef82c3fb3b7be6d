"""The table of who used what: a row for each team, namespace or pod, sorted by a link in each heading."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from gputally.accounting.states import State
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.money import Money, total
from gputally.collector.web import words
from gputally.collector.web.bars import HELD, Bar, bar

IDLE = tuple(State).index(State.IDLE)
MOST_ROWS = 500  # of one page; the API has all


class Sort(StrEnum):
    """What a table is sorted by: names upward, everything else the largest first."""

    NAME = "name"
    HOURS = "hours"
    USED = "used"
    IDLE = "idle"
    UNOBSERVED = "unobserved"
    EFFICIENCY = "efficiency"
    COST = "cost"
    IDLE_COST = "idle-cost"


@dataclass(frozen=True, slots=True)
class Usage:
    """Whose time; `href` leads to more about it."""

    name: str
    href: str | None
    amounts: Amounts
    money: Money

    @property
    def held_us(self) -> int:
        """What its owner is charged."""
        return self.amounts.used_us + self.amounts.idle_us + self.amounts.unobserved_us

    @property
    def idle_cost(self) -> int | None:
        """Of its idle time; None: unpriced."""
        return self.money.of_state(IDLE)


class Heading(NamedTuple):
    """A column; `order` is what a screen reader is told, empty where it is not sorted by this."""

    text: str
    href: str
    order: str
    number: bool


class Row(NamedTuple):
    """A row in words; the figures of a column add up to its total."""

    name: str
    href: str | None
    bar: Bar
    hours: str
    used: str
    idle: str
    unobserved: str
    efficiency: str
    cost: str
    unpriced: str
    idle_cost: str


@dataclass(frozen=True, slots=True)
class Table:
    """`left_out` counts rows that were too many for a page; they are in the total."""

    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    total: Row
    left_out: int


def table(found: Sequence[Usage], sort: Sort, what: str, currency: str, link: Callable[[Sort], str]) -> Table:
    """The rows in order; `what` they stand for, `link` is where a heading leads."""
    ordered = sorted(found, key=lambda one: (_ORDERS[sort](one), one.name))
    rows, last = lines(ordered, currency)
    left_out = max(0, len(found) - MOST_ROWS)
    return Table(_headings(sort, what, currency, link), tuple(rows[:MOST_ROWS]), last, left_out)


def lines(found: Sequence[Usage], currency: str) -> tuple[Sequence[Row], Row]:
    """Rows in the order that they are given in, and their total."""
    whole = Usage("Total", None, summed(one.amounts for one in found), total(one.money for one in found))
    *rows, last = _rows(found, whole, currency)
    return rows, last


def _rows(found: Sequence[Usage], whole: Usage, currency: str) -> tuple[Row, ...]:
    """The rows, and the total behind them, which is not rounded with them but comes to the same."""
    line_us = max((one.held_us for one in found), default=0)
    rows = [_row(one, line_us) for one in found]
    return (*_figures(found, rows, currency), *_figures([whole], [_row(whole, whole.held_us)], currency))


def _row(one: Usage, line_us: int) -> Row:
    efficiency = words.percent(one.amounts.used_us, one.amounts.used_us + one.amounts.idle_us)
    line = bar(one.amounts, line_us, HELD)
    return Row(one.name, one.href, line, "", "", "", "", efficiency, "", _unpriced(one), "")


def _figures(found: Sequence[Usage], rows: Sequence[Row], currency: str) -> list[Row]:
    """The rows with the figures that are rounded as columns."""
    columns: dict[str, Any] = {
        "hours": words.hours([one.held_us for one in found]),
        "used": words.hours([one.amounts.used_us for one in found]),
        "idle": words.hours([one.amounts.idle_us for one in found]),
        "unobserved": words.hours([one.amounts.unobserved_us for one in found]),
        "cost": words.money([words.whole_cost(one.money) for one in found], currency),
        "idle_cost": words.money([one.idle_cost for one in found], currency),
    }
    return [row._replace(**{name: texts[at] for name, texts in columns.items()}) for at, row in enumerate(rows)]


def _unpriced(one: Usage) -> str:
    """What the cost leaves out, where it leaves out a part."""
    if not one.money.unpriced_us or one.money.cost is None:
        return ""
    return f"and {words.hours([one.money.unpriced_us])[0]} h unpriced"


def _headings(sort: Sort, what: str, currency: str, link: Callable[[Sort], str]) -> tuple[Heading, ...]:
    texts = {
        Sort.NAME: what,
        Sort.HOURS: "GPU-hours",
        Sort.USED: "Used",
        Sort.IDLE: "Idle",
        Sort.UNOBSERVED: "Unobserved",
        Sort.EFFICIENCY: "Efficiency",
        Sort.COST: f"Cost {currency}".rstrip(),
        Sort.IDLE_COST: f"Idle cost {currency}".rstrip(),
    }
    orders = {Sort.NAME: "ascending"}
    return tuple(
        Heading(text, link(one), orders.get(one, "descending") if one is sort else "", one is not Sort.NAME)
        for one, text in texts.items()
    )


def _known(value: float | None) -> float:
    """What is unknown comes last."""
    return -1 if value is None else value


_ORDERS: dict[Sort, Callable[[Usage], float | str]] = {
    Sort.NAME: lambda one: one.name,
    Sort.HOURS: lambda one: -one.held_us,
    Sort.USED: lambda one: -one.amounts.used_us,
    Sort.IDLE: lambda one: -one.amounts.idle_us,
    Sort.UNOBSERVED: lambda one: -one.amounts.unobserved_us,
    Sort.EFFICIENCY: lambda one: -_known(one.amounts.efficiency),
    Sort.COST: lambda one: -_known(words.whole_cost(one.money)),
    Sort.IDLE_COST: lambda one: -_known(one.idle_cost),
}
