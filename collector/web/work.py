"""The table of workloads, in words: what each is made of, when and how it went, and what it had."""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.collector.allocation.allocation import Allocation
from gputally.collector.allocation.query import Query
from gputally.collector.jobs.attempts import Attempt
from gputally.collector.jobs.course import Course
from gputally.collector.jobs.job import Job, JobUse, read_jobs, read_some, read_uses
from gputally.collector.jobs.order import BY_COURSE, Sort, by_use, ordered
from gputally.collector.jobs.pod import JobPod
from gputally.collector.web import links, usage, words
from gputally.collector.web.asked import Asked
from gputally.collector.web.usage import Heading, Usage

MOST_ROWS = 200  # of one page; the API has all


class Span(NamedTuple):
    """From when until when something had GPUs, and how it ended; `until` is None while it goes on."""

    outcome: str
    since: words.Moment
    until: words.Moment | None
    lasts: str


class Line(NamedTuple):
    """A workload. `size` says what it is made of."""

    figures: usage.Row
    namespace: str
    namespace_href: str
    size: str
    span: Span


class Table(NamedTuple):
    """`left_out` counts workloads that were too many for the page; they are in the total."""

    headings: tuple[Heading, ...]
    rows: tuple[Line, ...]
    total: usage.Row
    left_out: int


class Listed(NamedTuple):
    """Workloads in order: what all of them had, and how those went that a page has room for."""

    uses: Sequence[JobUse]
    shown: Sequence[Job]
    allocation: Allocation


def read_listed(connection: Connection, zone: ZoneInfo, query: Query, sort: Sort) -> Listed:
    """A query's workloads; raises QueryError. Nothing is asked of the pods of those that are not shown."""
    if sort in BY_COURSE:
        every = read_jobs(connection, zone, query)
        jobs = ordered(every.jobs, sort)
        return Listed(jobs, jobs[:MOST_ROWS], every.allocation)
    found, allocation = read_uses(connection, zone, query)
    uses = by_use(found, sort)
    shown = read_some(connection, zone, query, uses[:MOST_ROWS], every=len(uses) <= MOST_ROWS)
    return Listed(uses, shown, allocation)


def table(
    listed: Listed, sort: Sort, asked: Asked, *, month: str | None, link: Callable[[Sort], str] | None = None
) -> Table:
    """The workloads in words. `month` is what rows lead to (None: this one); `link` is where a heading leads."""
    several = len({job.name.cluster for job in listed.uses}) > 1
    currency = listed.allocation.currency
    rows, total = usage.lines([_usage(job, month, several=several) for job in listed.uses], currency)
    lines = [_line(job, row, asked, month) for job, row in zip(listed.shown, rows, strict=False)]
    return Table(_headings(sort, currency, link), tuple(lines), total, len(listed.uses) - len(lines))


def span(of: Course | Attempt | JobPod, asked: Asked) -> Span:
    """When it was, for people."""
    end_us = of.end_us
    lasts = words.duration((asked.now_us if end_us is None else end_us) - of.start_us)
    until = None if end_us is None else words.moment(end_us, asked.zone)
    return Span(of.outcome.value, words.moment(of.start_us, asked.zone), until, lasts)


def size(of: Course) -> str:
    """What it is made of: `8 ranks on 2 nodes, 3 attempts`."""
    parts = [members(of.ranks if of.pods > 1 else None, of.pods, of.nodes)]
    if of.ranks is None and of.at_once < of.pods:
        parts.append(f"at most {of.at_once} at a time" if of.at_once > 1 else "one at a time")
    if of.runs is not None and of.runs > 1:
        parts.append(words.number(of.runs, "run"))
    if len(of.attempts) > (of.runs or 1):
        parts.append(words.number(len(of.attempts), "attempt"))
    if of.restarts:
        parts.append(words.number(of.restarts, "restart"))
    return ", ".join(parts)


def members(ranks: int | None, pods: int, nodes: int) -> str:
    """`8 ranks on 2 nodes`; pods where they have no rank."""
    many = words.number(pods, "pod") if ranks is None else words.number(ranks, "rank")
    return f"{many} on {words.number(nodes, 'node')}"


def _usage(job: JobUse, month: str | None, *, several: bool) -> Usage:
    name = f"{job.name.cluster}: {job.name.label}" if several else job.name.label
    return Usage(name, links.workload(job.name, month=month), job.amounts, job.money)


def _line(job: Job, row: usage.Row, asked: Asked, month: str | None) -> Line:
    href = links.namespace(job.name.namespace, month=month)
    return Line(row, job.name.namespace, href, size(job.course), span(job.course, asked))


def _headings(sort: Sort, currency: str, link: Callable[[Sort], str] | None) -> tuple[Heading, ...]:
    texts = {
        Sort.NAME: "Workload",
        Sort.START: "Began",
        Sort.HOURS: "GPU-hours",
        Sort.IDLE: "Idle",
        Sort.EFFICIENCY: "Efficiency",
        Sort.COST: f"Cost {currency}".rstrip(),
        Sort.IDLE_COST: f"Idle cost {currency}".rstrip(),
    }
    orders = {Sort.NAME: "ascending"}
    words_ = (Sort.NAME, Sort.START)
    return tuple(
        Heading(
            text,
            link(one) if link else "",
            orders.get(one, "descending") if one is sort else "",
            one not in words_,
        )
        for one, text in texts.items()
    )
