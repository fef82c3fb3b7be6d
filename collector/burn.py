"""How a month's budgets stand: what is spent, and where it will end if the days go on as they did.

Amounts are integers of which `rates.cost.SCALE` make one GPU-hour or one unit of the currency. Against GPU-hours count
the hours that are charged to pods; against money their cost, with energy and overhead where these have prices.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.allocation import read_allocation
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Scope
from gputally.collector.allocation.steps import Step, local_date
from gputally.collector.allocation.table import Row
from gputally.collector.budgets import Budget, Unit, budgets_of, read_budgets
from gputally.collector.budgets import Scope as BudgetScope
from gputally.collector.rates.card import NANO

_BY = (By.CLUSTER, By.NAMESPACE, By.TEAM)
_DAY_US = 24 * HOUR_US


class Standing(StrEnum):
    """How a budget stands."""

    UNKNOWN = "unknown"  # nothing that counts against it has a price
    WITHIN = "within"
    AT_RISK = "at-risk"  # the forecast is above it
    EXCEEDED = "exceeded"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a month will come to: its rest like the mean of its whole days so far, like the least, like the most."""

    expected: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Burn:
    """A budget of a month, what of it is spent, and the forecast: None before the first day is over.

    `spent` is None, and so is the forecast, where time counts against an amount of money and nothing of it has a price.
    `days` counts the whole days so far. `unpriced_us` is time that has no price, and is in no amount of money.
    """

    budget: Budget
    limit: int
    spent: int | None
    forecast: Forecast | None
    days: int
    unpriced_us: int

    @property
    def standing(self) -> Standing:
        """Whether it is exceeded, or will be."""
        if self.spent is None:
            return Standing.UNKNOWN
        if self.spent > self.limit:
            return Standing.EXCEEDED
        return Standing.AT_RISK if self.forecast and self.forecast.expected > self.limit else Standing.WITHIN

    def ratio(self, amount: int | None) -> float | None:
        """An amount's part of the budget; None of a budget of nothing, or of an amount that is not known."""
        return None if amount is None or not self.limit else amount / self.limit


def burns(
    connection: Connection, billing: ZoneInfo, month: Period, now_us: int, scope: Scope, as_of_us: int | None = None
) -> list[Burn]:
    """The budgets of a month that may be seen, in the order of their file, as they stand at `now_us`."""
    first = local_date(month.start_us, billing)
    budgets = [
        budget
        for budget in budgets_of(read_budgets(connection, as_of_us), (first.year, first.month))
        if _may_see(budget, scope)
    ]
    if not budgets:
        return []
    query = Query(month, billing, _BY, Step.DAY, scope=scope, as_of_us=as_of_us)
    rows = [row for row in read_allocation(connection, billing, query).rows if row.owner == OwnerKind.POD]
    days = query.steps()
    ordered = sorted(budgets, key=lambda budget: budget.line)
    return [_burn(budget, [row for row in rows if _counts(row, budget)], days, now_us) for budget in ordered]


def forecast(spent: int, by_day: Sequence[int], rest_us: int) -> Forecast | None:
    """Where `spent` will end after `rest_us` more, by what each whole day so far came to; None without such a day."""
    if rest_us <= 0:
        return Forecast(spent, spent, spent)
    if not by_day:
        return None
    rest = Fraction(rest_us, _DAY_US)
    mean = Fraction(sum(by_day), len(by_day))
    return Forecast(*(spent + round(a_day * rest) for a_day in (mean, min(by_day), max(by_day))))


def _burn(budget: Budget, rows: Sequence[Row], days: Sequence[Period], now_us: int) -> Burn:
    unpriced_us = sum(row.money.unpriced_us for row in rows) if budget.unit is Unit.MONEY else 0
    limit = budget.value * HOUR_US
    over = [day for day in days if day.end_us <= now_us]
    if unpriced_us and not any(_is_priced(row) for row in rows):
        return Burn(budget, limit, None, None, len(over), unpriced_us)
    by_day: dict[Period, int] = defaultdict(int)
    for row in rows:
        by_day[row.step] += _amount(row, budget.unit)
    spent = sum(by_day.values())
    expected = forecast(spent, [by_day[day] for day in over], days[-1].end_us - now_us)
    return Burn(budget, limit, spent, expected, len(over), unpriced_us)


def _is_priced(row: Row) -> bool:
    """Whether anything of it has a price: some of its time, or its energy."""
    return row.money.priced_us > 0 or row.money.energy is not None or row.money.overhead is not None


def _amount(row: Row, unit: Unit) -> int:
    if unit is Unit.GPU_HOURS:
        return row.amounts.capacity_us * NANO
    return sum(row.money.by_state) + (row.money.energy or 0) + (row.money.overhead or 0)


def _counts(row: Row, budget: Budget) -> bool:
    cluster, namespace, team = row.keys
    name = namespace if budget.scope is BudgetScope.NAMESPACE else team
    return name == budget.name and budget.cluster in (None, cluster)


def _may_see(budget: Budget, scope: Scope) -> bool:
    """A sum over what is partly hidden would be wrong, so a budget is shown only to who sees all that it counts."""
    if scope.namespaces is not None and (budget.scope is BudgetScope.TEAM or budget.name not in scope.namespaces):
        return False
    return scope.clusters is None or budget.cluster in scope.clusters
