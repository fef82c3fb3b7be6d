"""Budgets in words: whose, how much of it is spent, where the month will end."""

from collections.abc import Iterator
from typing import Any

from gputally.collector.budgets import Scope, Unit
from gputally.collector.burn import Burn, Standing
from gputally.collector.notify.budget_news import BudgetNews
from gputally.collector.notify.figures import NOT_PRICED, Frame
from gputally.collector.notify.message import Event, Message, clean
from gputally.collector.rates.cost import rounded
from gputally.collector.statement.currency import decimals
from gputally.collector.statement.rounding import fixed
from gputally.collector.web import links, words

_TITLES = {
    Standing.EXCEEDED: "is exceeded",
    Standing.AT_RISK: "will not last at this rate",
    Standing.WITHIN: "will do again",
    Standing.UNKNOWN: "cannot be counted any more",
}
_HOURS_DIGITS = 2


def budget_message(news: BudgetNews, frame: Frame, currency: str, now_us: int) -> Message:
    """What is new about a budget, as a message."""
    budget = news.burn.budget
    path = links.OVERVIEW
    if budget.scope is Scope.NAMESPACE:
        path = links.namespace(budget.name, month=news.key.month, cluster=budget.cluster)
    return Message(
        Event.BUDGET,
        "budget " + "/".join(news.key),
        news.level,
        now_us,
        f"The {words.month(news.key.month)} budget of {_whose(news.burn)} {_TITLES[news.burn.standing]}",
        tuple(_lines(news.burn, currency)),
        frame.link(path),
        _details(news, currency),
    )


def _whose(burn: Burn) -> str:
    budget = burn.budget
    cluster = f" in cluster {clean(budget.cluster)}" if budget.cluster else ""
    return f"{budget.scope.value} {clean(budget.name)}{cluster}"


def _lines(burn: Burn, currency: str) -> Iterator[str]:
    unit = currency if burn.budget.unit is Unit.MONEY else "GPU-hours"
    percent = "" if burn.spent is None or not burn.limit else f" ({burn.spent * 100 // burn.limit} %)"
    spent = _people(burn, burn.spent, currency)
    yield f"Spent: {spent} of {_people(burn, burn.limit, currency)} {unit}{percent}."
    if burn.forecast:
        expected = _people(burn, burn.forecast.expected, currency)
        yield f"By the end of the month, if its days go on as they did: {expected}."
    if burn.spent is not None and burn.unpriced_us:
        yield "A part of the time has no price, and is not in these amounts."
    if burn.budget.note:
        yield f"Note: {clean(burn.budget.note, 300)}"


def _people(burn: Burn, value: int | None, currency: str) -> str:
    text = _decimal(burn, value, currency)
    return NOT_PRICED if text is None else words.grouped(text)


def _decimal(burn: Burn, value: int | None, currency: str) -> str | None:
    """GPU-hours or money as a decimal, rounded once; None: not known."""
    digits = decimals(currency) if burn.budget.unit is Unit.MONEY else _HOURS_DIGITS
    return None if value is None else fixed(rounded([value], digits)[0], digits)


def _details(news: BudgetNews, currency: str) -> dict[str, Any]:
    burn = news.burn
    return {
        "month": news.key.month,
        "scope": news.key.scope,
        "name": burn.budget.name,
        "cluster": burn.budget.cluster,
        "unit": "GPU-hours" if burn.budget.unit is Unit.GPU_HOURS else currency,
        "standing": burn.standing.value,
        "budget": _decimal(burn, burn.limit, currency),
        "spent": _decimal(burn, burn.spent, currency),
        "forecast": _decimal(burn, burn.forecast.expected if burn.forecast else None, currency),
        "unpriced_gpu_seconds": burn.unpriced_us // 1_000_000,
    }
