"""A namespace: its month by day and by workload, what was wasted, what it holds now, and since when that is idle."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from pydantic import Field
from sqlalchemy import Connection

from gputally.accounting.keys import WHOLE_GPU
from gputally.collector.allocation.allocation import Allocation, read_allocation
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import Money, total
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.steps import Step
from gputally.collector.allocation.table import Row
from gputally.collector.budgets import Scope
from gputally.collector.burn import Burn, burns
from gputally.collector.jobs.job import of_pods
from gputally.collector.jobs.order import Sort
from gputally.collector.jobs.read_pods import JobName
from gputally.collector.jobs.wasted import read_losses
from gputally.collector.now import whose
from gputally.collector.now.latest import Standing, read_latest
from gputally.collector.now.spells import Spell, read_spells
from gputally.collector.rates.pricing import PRICES, read_prices
from gputally.collector.statement.month import Month
from gputally.collector.waste.lenses import read_lenses
from gputally.collector.web import budgets, links, words, work
from gputally.collector.web.asked import Asked, Name, Parameters, months
from gputally.collector.web.bars import HELD, Bar, bar, bar_now
from gputally.collector.web.losses import LensLine, Losses, lenses, losses
from gputally.collector.web.page import Page
from gputally.collector.web.usage import IDLE


class NamespaceParameters(Parameters):
    """What a namespace's page can be asked."""

    month: str | None = Field(default=None, max_length=10)
    cluster: Name | None = None
    sort: Sort = Sort.IDLE_COST


class Day(NamedTuple):
    """A day in words; `cost` with energy."""

    day: str
    bar: Bar
    used: str
    idle: str
    unobserved: str
    cost: str


class Holding(NamedTuple):
    """What is held now: `since` is None where it is not idle."""

    work: str
    work_href: str
    pod: str
    container: str
    node: str
    href: str
    device: str
    model: str
    bar: Bar
    since: words.Moment | None
    before: bool
    silent: bool
    memory: str


class Found(NamedTuple):
    """What the database says of a namespace."""

    month: Allocation
    status: str
    standings: Sequence[Standing]
    labels: Mapping[whose.Holder, str]
    spells: Sequence[Spell]
    burns: Sequence[Burn]
    listed: work.Listed
    losses: Losses
    lenses: tuple[LensLine, ...]


async def namespace(asked: Asked) -> Page:
    """The page; raises QueryMistakes."""
    given = asked.parameters(NamespaceParameters)
    name = asked.named("namespace")
    month = asked.month(given.month)
    found = await asked.service.settled(partial(_read, asked, name, given, month))
    path = links.namespace(name)
    kept = {"month": given.month, "cluster": given.cluster}
    amounts, money = found.month.amounts, found.month.money
    values = {
        "name": name,
        "months": months(asked, month, path, cluster=given.cluster),
        "status": found.status,
        "pending": found.month.ground.pending,
        **asked.frame,
        "teams": _teams(found.month),
        "budgets": budgets.table(found.burns, found.month.currency, given.month),
        "currency": found.month.currency,
        "figures": _figures(amounts, money, found.month.currency),
        "days": _days(found.month, asked),
        "table": work.table(
            found.listed,
            given.sort,
            asked,
            month=given.month,
            link=partial(_sorted, path, kept),
        ),
        "losses": found.losses,
        "lenses": found.lenses,
        "holdings": _holdings(found, asked),
        "statement": links.link(links.STATEMENT, month=given.month, namespace=name),
        "idle": links.link(links.IDLE, namespace=name, atLeast="0"),
        "month_given": given.month,
    }
    return Page("namespace.html", f"Namespace {name}, {words.month(month.name)}", links.OVERVIEW, values)


def _read(asked: Asked, name: str, given: NamespaceParameters, month: Month, connection: Connection) -> Found:
    query = _query(asked, name, given, month)
    standings = _held(asked, name, given.cluster, connection)
    spells = read_spells(
        connection,
        asked.zone,
        read_prices(connection, asked.zone, quantities=PRICES, of_teams=True),
        standings,
        asked.now_us,
    )
    allocation = read_allocation(connection, asked.zone, of_pods(query, (By.TEAM,), Step.DAY))
    lost, whole = read_losses(connection, asked.zone, query)
    of = {(Scope.NAMESPACE, name), *((Scope.TEAM, team) for team in _teams(allocation))}
    burning = burns(connection, asked.zone, month.period, asked.now_us, asked.scope)
    burning = [one for one in burning if (one.budget.scope, one.budget.name) in of]
    return Found(
        allocation,
        asked.service.status_of(connection, month.period),
        standings,
        whose.read_labels(connection, standings),
        spells,
        burning,
        work.read_listed(connection, asked.zone, query, given.sort),
        losses(whole.total, lost, whole.currency, given.month, namespace=name),
        lenses(read_lenses(connection, asked.zone, query).rows, whole.currency, given.month),
    )


def _held(asked: Asked, name: str, cluster: str | None, connection: Connection) -> list[Standing]:
    """What its pods held in the newest windows, without those that are known to have ended since."""
    found = read_latest(connection, asked.now_us, asked.scope, name)
    ended = whose.read_ended(connection, found, asked.now_us)
    here = (one for one in found if cluster in (None, one.cluster))
    return [one for one in here if whose.Holder.of(one.part) not in ended]


def _query(asked: Asked, name: str, given: NamespaceParameters, month: Month) -> Query:
    clauses = [Clause(By.NAMESPACE, Operator.IS, (name,))]
    if given.cluster is not None:
        clauses.append(Clause(By.CLUSTER, Operator.IS, (given.cluster,)))
    return Query(month.period, asked.zone, where=Filter(tuple(clauses)), scope=asked.scope)


def _teams(found: Allocation) -> list[str]:
    return sorted({row.keys[0] for row in found.rows if row.keys[0]})


def _sorted(path: str, kept: dict[str, str | None], sort: Sort) -> str:
    return links.link(path, **kept, sort=None if sort is Sort.IDLE_COST else sort.value)


def _figures(amounts: Amounts, money: Money, currency: str) -> list[tuple[str, words.Figure]]:
    cost = words.whole_cost(money)
    idle = money.of_state(IDLE)
    efficiency = words.percent(amounts.used_us, amounts.used_us + amounts.idle_us)
    observed_us = amounts.capacity_us - amounts.unobserved_us
    return [
        ("Cost", words.priced(cost, currency)),
        ("Idle cost", words.priced(idle, currency)),
        ("GPU-hours held", words.Figure(words.hours([amounts.capacity_us])[0])),
        ("Efficiency", words.Figure(efficiency)),
        ("Coverage", words.Figure(words.percent(observed_us, amounts.capacity_us))),
        ("Energy", words.Figure(words.energy(amounts.energy_mj))),
        ("Unpriced", words.Figure(words.hours([money.unpriced_us])[0], "h")),
    ]


def _days(found: Allocation, asked: Asked) -> list[Day]:
    """The days of the month so far; one without time has an empty bar."""
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in found.rows:
        groups[row.step.start_us].append(row)
    days = [step for step in found.query.steps() if step.start_us < asked.now_us]
    amounts = [summed(row.amounts for row in groups[day.start_us]) for day in days]
    costs = words.money([_spent(groups[day.start_us]) for day in days], found.currency)
    used, idle, unobserved = (words.hours([of.by_state[at] for of in amounts]) for at in (0, 1, 4))
    line_us = max((of.capacity_us for of in amounts), default=0)
    return [
        Day(words.day(day.start_us, asked.zone), bar(of, line_us, HELD), *figures)
        for day, of, *figures in zip(days, amounts, used, idle, unobserved, costs, strict=True)
    ]


def _spent(rows: Iterable[Row]) -> int | None:
    return words.whole_cost(total(row.money for row in rows))


def _holdings(found: Found, asked: Asked) -> list[Holding]:
    spells = {spell.standing.part: spell for spell in found.spells}
    return [_holding(one, whose.label_of(one, found.labels), spells.get(one.part), asked) for one in found.standings]


def _holding(one: Standing, work: str, spell: Spell | None, asked: Asked) -> Holding:
    device = one.uuid if one.part.partition == WHOLE_GPU else f"{one.uuid}, {one.part.partition} {one.profile}".rstrip()
    return Holding(
        work,
        links.workload(JobName(one.cluster, one.namespace, work)),
        one.pod,
        one.container,
        one.node,
        links.link(links.GPUS, cluster=one.cluster, node=one.node),
        device,
        one.model,
        bar_now(one.amounts.by_state, one.end_us - one.start_us),
        words.moment(spell.since_us, asked.zone) if spell else None,
        spell.before if spell else False,
        one.silent(asked.now_us),
        words.memory(one.memory_byte_s, one.end_us - one.start_us),
    )
