"""The plan of a question, made of what is summed at this moment."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Column, Connection, bindparam, func, select

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import (
    Cut,
    Detail,
    Plan,
    SummedDay,
    Used,
    is_cut,
    parts,
    pieces,
    whole_days,
    within_days,
)
from gputally.collector.database.schema import node, owner
from gputally.collector.database.schema_day import posting_day, summed_day
from gputally.collector.rates.changes import Changes

_DAYS = (
    select(summed_day.c.day_us, summed_day.c.end_us, summed_day.c.sealed)
    .where(summed_day.c.day_us >= bindparam("start"), summed_day.c.end_us <= bindparam("end"))
    .order_by(summed_day.c.day_us)
)


def read_days(connection: Connection, period: Period) -> list[SummedDay]:
    """The summed days that lie in a period."""
    rows = connection.execute(_DAYS, {"start": period.start_us, "end": period.end_us})
    return [SummedDay(start_us, end_us, sealed == 1) for start_us, end_us, sealed in rows]


def read_plan(connection: Connection, period: Period, starts: Sequence[int], changes: Changes, needed: Detail) -> Plan:
    """How to read a period whose steps begin at `starts`, with at least this much detail."""
    return plan_with(connection, period, starts, changes, needed, read_days(connection, period))


def plan_with(
    connection: Connection,
    period: Period,
    starts: Sequence[int],
    changes: Changes,
    needed: Detail,
    summed: Sequence[SummedDay],
) -> Plan:
    """The same where the period's summed days are known."""
    cut_at = pieces(starts, changes)
    if needed is Detail.POSTING:
        return Plan(cut_at, parts(period, needed, ()))
    days = whole_days(period, cut_at.common, summed)
    return Plan(cut_at, parts(period, needed, days, _cuts(connection, changes, days)))


def _cuts(connection: Connection, changes: Changes, days: Sequence[SummedDay]) -> list[Cut]:
    """What changes within a day is only cut where it has time before and after: most of what is new has none before."""
    namespaces = _cut(connection, changes.namespaces, days, owner.c.namespace)
    nodes = _cut(connection, changes.nodes, days, node.c.name)
    return [
        Cut(day, tuple(namespaces.get(day, ())), tuple(nodes.get(day, ()))) for day in sorted({*namespaces, *nodes})
    ]


def _cut(
    connection: Connection, changes: Mapping[str, Sequence[int]], days: Sequence[SummedDay], column: Column[str]
) -> dict[SummedDay, list[str]]:
    found = {
        day: [name for name, used in _used(connection, day, names, column) if is_cut(changes[name], used)]
        for day, names in within_days(changes, days).items()
    }
    return {day: names for day, names in found.items() if names}


def _used(
    connection: Connection, day: SummedDay, names: Sequence[str], column: Column[str]
) -> Iterable[tuple[str, Used]]:
    row = posting_day.c
    pointer = row.owner_id if column.table is owner else row.node_id
    edges = select(column, func.min(row.first_us), func.max(row.last_us))
    edges = edges.join_from(posting_day, column.table, column.table.c.id == pointer)
    edges = edges.where(row.day_us == day.start_us, column.in_(names)).group_by(column)
    if column.table is owner:
        edges = edges.where(owner.c.kind == OwnerKind.POD.value)
    return [(name, Used(first_us, last_us)) for name, first_us, last_us in connection.execute(edges)]
