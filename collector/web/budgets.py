"""Budgets: what is spent of each, where it will end, and how that stands; those that are in trouble first."""

from collections.abc import Sequence
from typing import NamedTuple

from gputally.collector.budgets import Scope, Unit
from gputally.collector.burn import Burn, Standing
from gputally.collector.rates.cost import rounded
from gputally.collector.statement import rounding
from gputally.collector.statement.currency import decimals
from gputally.collector.web import links, words
from gputally.collector.web.bars import Bar, Segment, percent

MOST_ROWS = 100  # of one page; the API has all
_ORDER = (Standing.EXCEEDED, Standing.AT_RISK, Standing.WITHIN, Standing.UNKNOWN)
_SAID = {Standing.AT_RISK: "at risk"}


class Row(NamedTuple):
    """A budget in words; `limit_x` is where it ends on its bar. `part` is what of it is spent, rounded down."""

    name: str
    href: str
    what: str
    bar: Bar
    limit_x: str
    spent: str
    unpriced: str
    limit: str
    part: str
    expected: str
    between: str
    standing: str
    said: str


class Table(NamedTuple):
    """`left_out` counts budgets that were too many for a page."""

    rows: tuple[Row, ...]
    left_out: int


def table(found: Sequence[Burn], currency: str, month: str | None) -> Table:
    """The budgets in words; links lead to the same month (None: this one)."""
    ordered = sorted(found, key=lambda one: _ORDER.index(one.standing))
    return Table(tuple(_row(one, currency, month) for one in ordered[:MOST_ROWS]), max(0, len(found) - MOST_ROWS))


def _row(one: Burn, currency: str, month: str | None) -> Row:
    budget, of_team = one.budget, one.budget.scope is Scope.TEAM
    unit = "GPU-hours" if budget.unit is Unit.GPU_HOURS else currency or "money"
    digits = 1 if budget.unit is Unit.GPU_HOURS else decimals(currency)
    href = links.link(links.OVERVIEW, month=month, team=budget.name)
    if not of_team:
        href = links.namespace(budget.name, month=month, cluster=budget.cluster)
    said = _SAID.get(one.standing, one.standing.value)
    spent, limit = _figure(one.spent, digits), _figure(one.limit, digits)
    expected = one.forecast.expected if one.forecast else None
    line = max(one.limit, one.spent or 0, expected or 0)
    return Row(
        budget.name,
        href,
        ", ".join(filter(None, (budget.scope.value, budget.cluster and f"in {budget.cluster}", unit, budget.note))),
        Bar(_label(one, spent, limit, unit, _figure(expected, digits), said), _segments(one, expected, line)),
        percent(one.limit, line),
        spent,
        "a part is unpriced" if one.unpriced_us and one.spent is not None else "",
        limit,
        words.percent(one.spent, one.limit) if one.spent is not None else words.UNKNOWN,
        _figure(expected, digits) if one.forecast else words.UNKNOWN,
        _between(one, digits),
        one.standing.value,
        said,
    )


def _segments(one: Burn, expected: int | None, line: int) -> tuple[Segment, ...]:
    """What is spent, and what will be; a budget that is within itself has another colour than one that is not."""
    spent = one.spent or 0
    found = [Segment(f"spent-{one.standing}", percent(0, line), percent(spent, line))]
    if expected is not None and expected > spent:
        found.append(Segment("expected", percent(spent, line), percent(expected - spent, line)))
    return tuple(found)


def _label(one: Burn, spent: str, limit: str, unit: str, expected: str, said: str) -> str:
    forecast = f", {expected} expected at the month's end" if one.forecast else ""
    return f"{said}: {spent} of {limit} {unit} spent{forecast}"


def _between(one: Burn, digits: int) -> str:
    """The range of the forecast, where it is one."""
    if one.forecast is None or one.forecast.low == one.forecast.high:
        return ""
    return f"{_figure(one.forecast.low, digits)} to {_figure(one.forecast.high, digits)}"


def _figure(amount: int | None, digits: int) -> str:
    if amount is None:
        return words.UNPRICED
    (value,) = rounded([amount], digits)
    return words.grouped(rounding.fixed(value, digits))
