"""Workloads of a month: one job, one row, whatever pods it is made of; those whose idle time cost most come first."""

from functools import partial

from pydantic import Field
from sqlalchemy import Connection

from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.query import Query
from gputally.collector.jobs.order import Sort
from gputally.collector.statement.month import Month
from gputally.collector.web import links, words, work
from gputally.collector.web.asked import Asked, Name, Parameters, months
from gputally.collector.web.page import Page


class WorkloadsParameters(Parameters):
    """What the workloads' page can be asked."""

    month: str | None = Field(default=None, max_length=10)
    namespace: Name | None = None
    team: Name | None = None
    sort: Sort = Sort.IDLE_COST


async def workloads(asked: Asked) -> Page:
    """The page; raises QueryMistakes."""
    given = asked.parameters(WorkloadsParameters)
    month = asked.month(given.month)
    found, status = await asked.service.settled(partial(_read, asked, given, month))
    kept = {"namespace": given.namespace, "team": given.team}
    currency = found.allocation.currency
    values = {
        "months": months(asked, month, links.WORKLOADS, **kept, sort=_named(given.sort)),
        "status": status,
        "pending": found.allocation.ground.pending,
        **asked.frame,
        "whole": asked.scope.whole,
        "table": work.table(found, given.sort, asked, month=given.month, link=partial(_sorted, given.month, kept)),
        "currency": currency,
        "given": given,
    }
    return Page("workloads.html", f"Workloads, {words.month(month.name)}", links.WORKLOADS, values)


def _read(asked: Asked, given: WorkloadsParameters, month: Month, connection: Connection) -> tuple[work.Listed, str]:
    only = ((By.NAMESPACE, given.namespace), (By.TEAM, given.team))
    where = Filter(tuple(Clause(key, Operator.IS, (name,)) for key, name in only if name is not None))
    query = Query(month.period, asked.zone, where=where, scope=asked.scope)
    listed = work.read_listed(connection, asked.zone, query, given.sort)
    return listed, asked.service.status_of(connection, month.period)


def _sorted(month: str | None, kept: dict[str, str | None], sort: Sort) -> str:
    return links.link(links.WORKLOADS, month=month, **kept, sort=_named(sort))


def _named(sort: Sort) -> str | None:
    return None if sort is Sort.IDLE_COST else sort.value
