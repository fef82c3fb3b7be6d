"""The month so far: by team, or the namespaces of one; used, idle and unobserved, with what they cost."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from pydantic import Field
from sqlalchemy import Connection

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.allocation import Allocation, read_allocation
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import Money, total
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.table import Row
from gputally.collector.budgets import Scope
from gputally.collector.burn import Burn, burns
from gputally.collector.jobs.wasted import read_losses
from gputally.collector.now.latest import read_latest
from gputally.collector.now.whose import read_labels
from gputally.collector.rates.pricing import PRICES, read_prices
from gputally.collector.statement.month import Month
from gputally.collector.web import budgets, links, words
from gputally.collector.web.asked import Asked, Name, Parameters, months
from gputally.collector.web.bars import Bar, bar
from gputally.collector.web.losses import Losses, losses
from gputally.collector.web.page import Page
from gputally.collector.web.usage import IDLE, Sort, Usage, table
from gputally.collector.web.waste import Waste, idle_now, waste

NO_TEAM = "(no team)"


class Grouping(StrEnum):
    """What rows stand for."""

    TEAM = "team"
    NAMESPACE = "namespace"


class OverviewParameters(Parameters):
    """What the overview can be asked."""

    month: str | None = Field(default=None, max_length=10)
    by: Grouping | None = None
    team: Name | None = None
    sort: Sort = Sort.COST


class Fact(NamedTuple):
    """A figure of the whole, and what it means."""

    name: str
    figure: words.Figure
    note: str


class Rest(NamedTuple):
    """Time that belongs to no namespace."""

    name: str
    bar: Bar
    hours: str
    cost: str
    note: str


class Found(NamedTuple):
    """What the database says of a month; `waste` is of this moment, and only where that is in the month."""

    month: Allocation
    status: str
    burns: Sequence[Burn]
    waste: Waste | None
    losses: Losses


async def overview(asked: Asked) -> Page:
    """The page; raises QueryMistakes."""
    given = asked.parameters(OverviewParameters)
    month = asked.month(given.month)
    read = await asked.service.settled(partial(_read, asked, given, month))
    found = read.month
    by_team = given.team is None and given.by is not Grouping.NAMESPACE
    kept = {"month": given.month, "by": given.by.value if given.by else None, "team": given.team}
    usages = _teams(found, given) if by_team else _namespaces(found, given)
    what = "Team" if by_team else "Namespace"
    values = {
        "months": months(asked, month, links.OVERVIEW, by=kept["by"], team=given.team),
        "status": read.status,
        "pending": found.ground.pending,
        **asked.frame,
        "whole": asked.scope.whole,
        "facts": _facts(found, [one for one in found.rows if one.owner == OwnerKind.POD]),
        "capacity": bar(found.amounts, found.amounts.capacity_us),
        "table": table(usages, given.sort, what, found.currency, partial(_sorted, kept)),
        "rests": _rests(found),
        "budgets": budgets.table(read.burns, found.currency, given.month),
        "waste": read.waste,
        "losses": read.losses,
        "currency": found.currency,
        "team": given.team,
        "by_team": by_team,
        "month_given": given.month,
    }
    return Page("overview.html", f"Overview, {words.month(month.name)}", links.OVERVIEW, values)


def _read(asked: Asked, given: OverviewParameters, month: Month, connection: Connection) -> Found:
    query = Query(month.period, asked.zone, (By.CLUSTER, By.NAMESPACE, By.TEAM), scope=asked.scope)
    burning = burns(connection, asked.zone, month.period, asked.now_us, asked.scope)
    wasted = None
    if given.team is None and month.start_us <= asked.now_us < month.end_us:
        standings = read_latest(connection, asked.now_us, asked.scope)
        labels = read_labels(connection, idle_now(standings, asked.now_us))
        wasted = waste(
            standings, labels, read_prices(connection, asked.zone, quantities=PRICES, of_teams=True), asked.now_us
        )
    return Found(
        read_allocation(connection, asked.zone, query),
        asked.service.status_of(connection, month.period),
        [one for one in burning if given.team is None or _is_of(one, given.team)],
        wasted,
        _losses(asked, given, month, connection),
    )


def _losses(asked: Asked, given: OverviewParameters, month: Month, connection: Connection) -> Losses:
    where = Filter() if given.team is None else Filter((Clause(By.TEAM, Operator.IS, (given.team,)),))
    query = Query(month.period, asked.zone, where=where, scope=asked.scope)
    found, whole = read_losses(connection, asked.zone, query)
    return losses(whole.total, found, whole.currency, given.month, team=given.team)


def _is_of(one: Burn, team: str) -> bool:
    return one.budget.scope is Scope.TEAM and one.budget.name == team


def _sorted(kept: dict[str, str | None], sort: Sort) -> str:
    return links.link(links.OVERVIEW, **kept, sort=None if sort is Sort.COST else sort.value)


def _teams(found: Allocation, given: OverviewParameters) -> list[Usage]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in _pods(found):
        groups[row.keys[2]].append(row)
    return [
        _usage(team or NO_TEAM, links.link(links.OVERVIEW, month=given.month, team=team), rows)
        for team, rows in groups.items()
    ]


def _namespaces(found: Allocation, given: OverviewParameters) -> list[Usage]:
    """Namespaces of the team that is asked for, or all; with their clusters where there are several."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in _pods(found):
        if given.team in (None, row.keys[2]):
            groups[row.keys[0], row.keys[1]].append(row)
    several = len({row.keys[0] for row in found.rows}) > 1
    usages = []
    for (cluster, name), rows in groups.items():
        href = links.namespace(name, month=given.month, cluster=cluster if several else None)
        usages.append(_usage(f"{cluster}/{name}" if several else name, href, rows))
    return usages


def _pods(found: Allocation) -> Iterable[Row]:
    return (row for row in found.rows if row.owner == OwnerKind.POD)


def _usage(name: str, href: str, rows: Sequence[Row]) -> Usage:
    return Usage(name, href, summed(row.amounts for row in rows), total(row.money for row in rows))


def _facts(found: Allocation, pods: Sequence[Row]) -> list[Fact]:
    """The four figures at the top."""
    held, spent = summed(row.amounts for row in pods), total(row.money for row in pods)
    amounts, of = found.amounts, f"of {words.hours([found.amounts.capacity_us])[0]} GPU-hours of capacity"
    observed_us = amounts.capacity_us - amounts.unobserved_us
    idle_cost = spent.of_state(IDLE)
    facts = [
        Fact("Charged to teams", words.priced(words.whole_cost(spent), found.currency), _hours(held)),
        Fact("Held idle", words.priced(idle_cost, found.currency), _idle(held)),
        Fact("Used", words.Figure(words.percent(amounts.used_us, amounts.capacity_us)), of),
        Fact("Coverage", words.Figure(words.percent(observed_us, amounts.capacity_us)), "of the time was observed"),
    ]
    if found.money.unpriced_us:
        figure = words.Figure(words.hours([found.money.unpriced_us])[0], "h")
        facts.append(Fact("Unpriced", figure, "have no rate, and are in no amount"))
    return facts


def _hours(held: Amounts) -> str:
    return f"for {words.hours([held.capacity_us])[0]} GPU-hours that pods held"


def _idle(held: Amounts) -> str:
    part = words.percent(held.idle_us, held.used_us + held.idle_us)
    return f"for {words.hours([held.idle_us])[0]} GPU-hours: {part} of the measured time that pods held"


_REST_NAMES = {
    OwnerKind.HOST.value: ("Processes outside pods", "ran on a node without a pod"),
    OwnerKind.PLATFORM.value: ("Nobody", "unallocated, unavailable, or unobserved while nobody held it"),
}


def _rests(found: Allocation) -> list[Rest]:
    """What no namespace is charged for; the platform pays."""
    rests = []
    for kind, (name, note) in _REST_NAMES.items():
        rows = [row for row in found.rows if row.owner == kind]
        amounts, money = summed(row.amounts for row in rows), total(row.money for row in rows)
        if rows:
            rests.append(_rest(name, note, amounts, money, found))
    return rests


def _rest(name: str, note: str, amounts: Amounts, money: Money, found: Allocation) -> Rest:
    cost = words.money([words.whole_cost(money)], found.currency)[0]
    return Rest(name, bar(amounts, found.amounts.capacity_us), words.hours([amounts.capacity_us])[0], cost, note)
