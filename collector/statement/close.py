"""Close a month: its lines and its statement are frozen, and nothing changes them any more."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, insert, text

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.allocation.allocation import pending_in
from gputally.collector.allocation.period import Period, instant
from gputally.collector.allocation.query import WHOLE
from gputally.collector.database.engine import is_sqlite, writing
from gputally.collector.database.schema_statement import statement
from gputally.collector.ledger.postings import catch_up
from gputally.collector.ledger.state import read_state
from gputally.collector.statement.content import Closing, Statement, draw_up
from gputally.collector.statement.document import as_json, digest
from gputally.collector.statement.frozen import write_lines
from gputally.collector.statement.ground import open_lines
from gputally.collector.statement.line import Line
from gputally.collector.statement.month import Month, month_at
from gputally.collector.statement.register import Closed, check_zone, closed_months
from gputally.collector.statement.view import View


class Allowance(StrEnum):
    """In spite of what a month may be closed; it is recorded in the statement."""

    UNPRICED = "unpriced"
    DIRTY = "dirty"


@dataclass(frozen=True, slots=True)
class Request:
    """Who closes which month when, and in spite of what."""

    month: Month
    by: str
    now_us: int
    allow: Collection[Allowance] = ()


class NotClosed(RuntimeError):
    """A month that cannot be closed; `reasons` are all that keep it open."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class Unbalanced(RuntimeError):
    """Lines that do not add up to the statement: an error of this program. Nothing was closed."""


def close_month(engine: Engine, zone: ZoneInfo, request: Request) -> Closed:
    """Freeze a month; raises NotClosed, ZoneChanged and QueryError. Of several at once one closes it."""
    catch_up(engine, zone)
    snapshot = engine if is_sqlite(engine) else engine.execution_options(isolation_level="REPEATABLE READ")
    with writing(snapshot) as connection:
        if not is_sqlite(connection):
            # Before the snapshot is taken: who waited sees what the one before has closed. Readers go on.
            connection.execute(text("LOCK TABLE statement IN EXCLUSIVE MODE"))
        return _close(connection, zone, request)


def _close(connection: Connection, zone: ZoneInfo, request: Request) -> Closed:
    month = request.month
    closed = closed_months(connection)
    check_zone(closed, zone)
    reasons = list(_out_of_turn(zone, request, closed))
    if reasons:
        raise NotClosed(reasons)
    draft = draw_up(connection, zone, month)
    reasons, allowed = _open_ends(connection, zone, request, draft)
    if reasons:
        raise NotClosed(reasons)
    totals = _Totals()
    lines = totals.watched(open_lines(connection, zone, month))
    frozen = write_lines(connection, month.name, lines)
    totals.check(draft)
    closing = Closing(request.now_us, request.by, allowed, frozen.count, frozen.hex)
    document = as_json(View(replace(draft, closing=closing)))
    final_before_us = min(read_state(connection).lines_from_us, month.end_us)
    return _keep(connection, zone, request, final_before_us, document)


def _keep(connection: Connection, zone: ZoneInfo, request: Request, final_before_us: int, document: str) -> Closed:
    month = request.month
    head = (month.name, month.start_us, month.end_us, zone.key, request.now_us, request.by, final_before_us)
    closed = Closed(*head, digest(document))
    names = (*Closed.__slots__, "document")
    values = (*head, closed.content_hash, document)
    connection.execute(insert(statement), dict(zip(names, values, strict=True)))
    return closed


class _Totals:
    """Adds up lines on their way, in order to compare them with the statement (I9)."""

    def __init__(self) -> None:
        self._us = 0
        self._cost = 0
        self._mj = 0

    def watched(self, lines: Iterator[Line]) -> Iterator[Line]:
        for line in lines:
            self._us += line.amounts.capacity_us
            self._mj += line.amounts.energy_mj or 0
            self._cost += (line.cost or 0) + (line.energy_cost or 0) + (line.overhead_cost or 0)
            yield line

    def check(self, draft: Statement) -> None:
        us = sum(item.quantity for item in draft.items if item.key.is_time)
        cost = sum(item.cost or 0 for item in draft.items)
        if (us, cost, draft.energy_mj or 0) != (self._us, self._cost, self._mj):
            raise Unbalanced(f"{draft.month}: lines of {self._us} µs, statement of {us} µs; costs {self._cost}, {cost}")


# What keeps a month open.


def _out_of_turn(zone: ZoneInfo, request: Request, closed: Sequence[Closed]) -> Iterator[str]:
    """What no allowance helps against: each month is closed once, when it is over, after the one before it."""
    month = request.month
    for one in closed:
        if one.month == month.name:
            yield f"{month.name} is closed already, since {instant(one.closed_us, zone)} by {one.closed_by}"
            return
    if request.now_us < month.end_us:
        yield f"{month.name} is not over: it ends at {instant(month.end_us, zone)}"
    last = closed[-1] if closed else None
    if last is not None and month.start_us != last.end_us:
        due = month_at(last.end_us, zone).name
        yield f"months are closed in order, each once: {due} is next"


def _open_ends(
    connection: Connection, zone: ZoneInfo, request: Request, draft: Statement
) -> tuple[list[str], tuple[str, ...]]:
    """What is not ready: reasons to stay open, and the names of those that were allowed."""
    found = {Allowance.UNPRICED: _unpriced(draft), Allowance.DIRTY: _dirty(connection, zone, request.month, draft)}
    there = {kind: reasons for kind, reasons in found.items() if reasons}
    reasons = [
        f"{reason} (--allow-{kind.value} closes all the same)"
        for kind, of_kind in there.items()
        if kind not in request.allow
        for reason in of_kind
    ]
    return reasons, tuple(kind.value for kind in there)


def _unpriced(draft: Statement) -> list[str]:
    sums: dict[str, int] = {}
    for item in draft.items:
        if item.key.is_time and item.cost is None:
            name = " ".join(filter(None, (item.key.model, item.key.profile)))
            sums[name] = sums.get(name, 0) + item.quantity
    return [f"unpriced: {us / HOUR_US:.1f} GPU-hours of {name}" for name, us in sums.items()]


def _dirty(connection: Connection, zone: ZoneInfo, month: Month, draft: Statement) -> list[str]:
    reasons = []
    if draft.pending:
        reasons.append(f"dirty: {draft.pending} hours of nodes wait to be recomputed")
    late = _late(connection)
    if late:
        reasons.append(f"dirty: {late} hours of nodes in closed months wait to be recomputed, and may be corrected")
    booked_us = read_state(connection).booked_until_us
    if 0 < booked_us < month.end_us:
        reasons.append(f"dirty: the time of silent nodes is booked only until {instant(booked_us, zone)}")
    return reasons


def _late(connection: Connection) -> int:
    """What waits in closed months: their corrections are not all known."""
    closed = closed_months(connection)
    return pending_in(connection, Period(closed[0].start_us, closed[-1].end_us), WHOLE) if closed else 0
