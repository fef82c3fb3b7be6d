"""What arrived after a month was closed: the ledger of its hours as it is now, less what was billed for them.

The first month that is not closed takes these differences as lines of its own, each with the hour that it corrects.
What was billed is the month's own lines and all corrections of them that were frozen since, so a difference is billed
once. A price that changes after the close changes nothing: what is corrected keeps its frozen terms, and what is new
gets those that were known when its month was closed.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from gputally.collector.allocation.period import Period
from gputally.collector.database.schema import posting
from gputally.collector.statement.frozen import frozen_between
from gputally.collector.statement.line import Amounts, Holding, Line
from gputally.collector.statement.live import live_lines
from gputally.collector.statement.register import Closed
from gputally.collector.statement.terms import read_terms


def corrections(connection: Connection, zone: ZoneInfo, closed: Sequence[Closed]) -> Iterator[Line]:
    """The differences of all closed months (the oldest first), by hour."""
    if not closed:
        return
    from_us = max(closed[-1].final_before_us, _oldest_hour(connection))
    for one in closed:
        period = Period(max(one.start_us, from_us), one.end_us)
        if period.start_us < period.end_us:
            yield from differences(connection, zone, period, one.closed_us)


def unbilled(connection: Connection, zone: ZoneInfo, closed: Closed) -> Iterator[Line]:
    """The differences of one closed month, as far back as the ledger keeps its hours."""
    period = Period(max(closed.start_us, _oldest_hour(connection)), closed.end_us)
    if period.start_us < period.end_us:
        yield from differences(connection, zone, period, closed.closed_us)


def differences(connection: Connection, zone: ZoneInfo, period: Period, closed_us: int) -> Iterator[Line]:
    """The ledger of a closed period less what was billed for it, by hour and then by name."""
    book = read_terms(connection, zone, closed_us)
    billed = ((line, -1) for line in frozen_between(connection, period))
    present = ((line, 1) for line in live_lines(connection, period, book))
    both = merge(billed, present, key=_hour)
    for _, of_hour in groupby(both, key=_hour):
        yield from _of_hour(of_hour)


def _of_hour(lines: Iterator[tuple[Line, int]]) -> Iterator[Line]:
    """What differs in one hour. What was billed comes first in the merge, so that its terms are kept."""
    kept: dict[Holding, Line] = {}
    sums: dict[Holding, Amounts] = {}
    for line, sign in lines:
        kept.setdefault(line.holding, line)
        sums[line.holding] = _plus(sums.get(line.holding, _NOTHING), line.amounts, sign)
    for holding in sorted(sums):
        if any(sums[holding]):
            yield kept[holding]._replace(amounts=sums[holding])


_NOTHING = Amounts()


def _plus(sums: Amounts, amounts: Amounts, sign: int) -> Amounts:
    return Amounts._make(_add(one, other, sign) for one, other in zip(sums, amounts, strict=True))


def _add(one: int | None, other: int | None, sign: int) -> int | None:
    """Unknown where neither is known."""
    return one if other is None else (one or 0) + sign * other


def _hour(signed: tuple[Line, int]) -> int:
    return signed[0].hour_us


def _oldest_hour(connection: Connection) -> int:
    """Before it the postings are gone, by age: that is no correction."""
    oldest: int | None = connection.execute(select(func.min(posting.c.hour_us))).scalar_one()
    return 2**62 if oldest is None else oldest
