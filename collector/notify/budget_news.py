"""What is new about budgets: each is told once at risk and once exceeded in a month, and once when it fell back.

A forecast may cross its budget many times a day. So a budget that was at risk has fallen back only once a day has
passed in which it was not; one that was exceeded is within it only where somebody raised it or mended a price, and that
is told at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gputally.collector.burn import Burn, Standing
from gputally.collector.notify.message import Level

SETTLED_US = 24 * 3_600_000_000
_LEVELS = {Standing.AT_RISK: Level.WARNING, Standing.EXCEEDED: Level.CRITICAL}


class BudgetKey(NamedTuple):
    """A budget of one month, which is YYYY-MM; a cluster of "" means all together."""

    month: str
    scope: str
    name: str
    cluster: str
    unit: str


@dataclass(frozen=True, slots=True)
class ToldBudget:
    """A budget that was told at `level`; `lower_since_us`: since when it has stood better, None: it does not.

    RESOLVED: that it fell back was told.
    """

    level: Level
    lower_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class BudgetNews:
    """What is to be told of a budget."""

    key: BudgetKey
    burn: Burn
    level: Level


@dataclass(frozen=True, slots=True)
class BudgetsNow:
    """The budgets that stand as told from now on, and what is new. Those of another month are forgotten."""

    told: Mapping[BudgetKey, ToldBudget]
    news: tuple[BudgetNews, ...]


def budget_news(before: Mapping[BudgetKey, ToldBudget], burns: Iterable[Burn], month: str, now_us: int) -> BudgetsNow:
    """What follows from what was told before and how the month's budgets stand at `now_us`."""
    told: dict[BudgetKey, ToldBudget] = {}
    news: list[BudgetNews] = []
    for burn in burns:
        key = budget_key(burn, month)
        last = before.get(key)
        now = last if burn.standing is Standing.UNKNOWN else _now(last, _LEVELS.get(burn.standing), now_us)
        if now is not None:
            told[key] = now
            if last is None or now.level is not last.level:
                news.append(BudgetNews(key, burn, now.level))
    return BudgetsNow(told, tuple(news))


def budget_key(burn: Burn, month: str) -> BudgetKey:
    """What no two budgets share."""
    budget = burn.budget
    return BudgetKey(month, budget.scope.value, budget.name, budget.cluster or "", budget.unit.value)


def _now(last: ToldBudget | None, level: Level | None, now_us: int) -> ToldBudget | None:
    """How it stands as told from now on; `level` of None: all is well."""
    if last is None or last.level is Level.RESOLVED:
        return last if level is None else ToldBudget(level)
    if level is not None and level.rank >= last.level.rank:
        return ToldBudget(level)
    since_us = now_us if last.lower_since_us is None else last.lower_since_us
    if last.level is Level.WARNING and now_us - since_us < SETTLED_US:
        return ToldBudget(last.level, since_us)
    return ToldBudget(level or Level.RESOLVED)
