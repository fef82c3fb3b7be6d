"""Advice: what the ledger shows that somebody could change, each a fact with what its time cost in the last week."""

from functools import partial
from typing import NamedTuple

from gputally.collector.advice.advice import Advice, IdleNotebook, Unused
from gputally.collector.advice.read import AdviceQuery, Advised, read_advice
from gputally.collector.advice.words import TITLES, says
from gputally.collector.jobs.read_pods import JobName
from gputally.collector.web import links, words
from gputally.collector.web.asked import Asked, Name, Parameters
from gputally.collector.web.page import Page

MOST_ROWS = 200  # of one page; the API has all


class AdviceParameters(Parameters):
    """What the page can be asked."""

    namespace: Name | None = None


class Row(NamedTuple):
    """A piece of advice in words, about a workload; `pod`: of which pod alone, empty where it is of all, or the only
    name. `unpriced` says what of its time is in no cost.
    """

    title: str
    work: str
    pod: str
    href: str
    namespace: str
    namespace_href: str
    team: str
    says: str
    hours: str
    cost: str
    unpriced: str


async def advice(asked: Asked) -> Page:
    """The page; raises QueryMistakes and QueryError."""
    given = asked.parameters(AdviceParameters)
    query = AdviceQuery(asked.now_us, asked.scope, given.namespace)
    found = await asked.service.settled(partial(read_advice, zone=asked.zone, query=query))
    values = {
        "since": words.moment(found.week.start_us, asked.zone),
        "rows": _rows(found, asked),
        "left_out": max(0, len(found.rows) - MOST_ROWS),
        "currency": found.currency,
        "pending": found.pending,
        "given": given,
        "whole": asked.scope.whole,
        **asked.frame,
    }
    return Page("advice.html", "Advice", links.ADVICE, values)


def _rows(found: Advised, asked: Asked) -> list[Row]:
    """Costs are rounded each for itself: they do not add up to anything."""
    return [_row(one, found.currency, asked) for one in found.rows[:MOST_ROWS]]


def _row(one: Advice, currency: str, asked: Asked) -> Row:
    subject, spent = one.subject, one.spent
    some = spent.unpriced_us > 0 and spent.cost is not None
    return Row(
        TITLES[one.kind],
        subject.workload,
        _pod(one),
        links.workload(JobName(subject.cluster, subject.namespace, subject.workload)),
        subject.namespace,
        links.namespace(subject.namespace),
        subject.team,
        says(one, asked.zone),
        words.hours([spent.us])[0],
        words.money([spent.cost], currency)[0],
        f"{words.hours([spent.unpriced_us])[0]} h unpriced" if some else "",
    )


def _pod(one: Advice) -> str:
    """A pod of which nothing was learnt is its own workload: its name is not told twice."""
    subject = one.subject
    alone = isinstance(one.details, Unused | IdleNotebook) and subject.pods
    return subject.pods[0] if alone and subject.workload != f"pod/{subject.pods[0]}" else ""
