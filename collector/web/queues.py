"""Queues: the quota of each beside what was reserved, used and left idle of it in a month."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from gputally.accounting.states import State
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.query import Scope
from gputally.collector.queues.quota import Quota
from gputally.collector.queues.use import QueueUse, read_use
from gputally.collector.statement.month import Month
from gputally.collector.web import links, words
from gputally.collector.web.asked import Asked, Parameters, months
from gputally.collector.web.bars import HELD, Bar, bar, percent
from gputally.collector.web.page import Page

MOST_ROWS = 500  # of one page; the API has all

_COLUMNS: dict[str, Callable[[QueueUse], int | None]] = {
    "quota": lambda use: use.quota_us,
    "reserved": lambda use: use.reserved_us,
    "used": lambda use: use.used_us,
    "idle": lambda use: use.idle_us,
    "borrowed": lambda use: use.borrowed_us,
    "unused": lambda use: use.unused_us,
}


class QueuesParameters(Parameters):
    """What queues can be asked."""

    month: str | None = None


class Row(NamedTuple):
    """A queue in words; `claimed`: pods alone say that some of its time is in it.

    `quota_x` is where its quota ends on the bar, empty where that is not known.
    """

    name: str
    detail: str
    quotas: tuple[str, ...]
    claimed: bool
    bar: Bar
    quota_x: str
    quota: str
    reserved: str
    used: str
    idle: str
    borrowed: str
    unused: str


async def queues(asked: Asked) -> Page:
    """The page; raises QueryMistakes and QueryError."""
    given = asked.parameters(QueuesParameters)
    month = asked.month(given.month)
    found = await asked.service.settled(partial(_read, asked, month, asked.scope))
    values = {
        "months": months(asked, month, links.QUEUES),
        "rows": _rows(found)[:MOST_ROWS],
        "left_out": max(0, len(found) - MOST_ROWS),
        "whole": asked.scope.namespaces is None,
        **asked.frame,
    }
    return Page("queues.html", "Queues", links.QUEUES, values)


def _read(asked: Asked, month: Month, scope: Scope, connection: Connection) -> Sequence[QueueUse]:
    return read_use(connection, asked.zone, month.period, asked.now_us, scope)


def _rows(found: Sequence[QueueUse]) -> list[Row]:
    """What is in no queue comes last."""
    line_us = max((max(use.reserved_us, use.quota_us or 0) for use in found), default=0)
    ordered = sorted(found, key=lambda use: not use.key.queue)
    columns = [_hours(ordered, of) for of in _COLUMNS.values()]
    return [_row(use, line_us, cells) for use, *cells in zip(ordered, *columns, strict=True)]


def _row(use: QueueUse, line_us: int, cells: Sequence[str]) -> Row:
    key = use.key
    where = (key.system, f"in {key.cluster}", f"cohort {use.cohort}" if use.cohort else "")
    times = dict.fromkeys(State, 0) | dict(zip(HELD, (use.used_us, use.idle_us, use.unobserved_us), strict=True))
    line = bar(Amounts(*times.values()), line_us, HELD)
    quotas = tuple(_quota(held.quota) for held in use.quotas)
    return Row(
        key.queue or "No queue",
        ", ".join(filter(None, where)),
        quotas,
        bool(use.claimed_us and key.queue),
        line if use.quota_us is None else replace(line, label=f"{line.label}; quota {cells[0]} h"),
        "" if use.quota_us is None else percent(use.quota_us, line_us),
        *cells,
    )


def _quota(quota: Quota) -> str:
    """One quota in a line, such as `8 × nvidia.com/gpu h100, at most 12`."""
    nominal = words.UNKNOWN if quota.nominal is None else f"{quota.nominal:,}"
    most = "" if quota.most in (None, quota.nominal) else f", at most {quota.most:,}"
    return f"{nominal} × {quota.resource} {quota.flavor}".rstrip() + most


def _hours(found: Sequence[QueueUse], of: Callable[[QueueUse], int | None]) -> list[str]:
    """GPU-hours of a column, which add up; what is not known is said so, and what no queue can have."""
    values = [of(use) for use in found]
    known = iter(words.hours([value for value in values if value is not None]))
    absent = [words.UNKNOWN if use.key.queue else "none" for use in found]
    return [text if value is None else next(known) for value, text in zip(values, absent, strict=True)]
