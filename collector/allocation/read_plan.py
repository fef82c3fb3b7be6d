"""The plan of a question, made of what is summed at this moment."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Column, Connection, bindparam, case, func, literal_column, select, union_all

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import (
    Cut,
    Detail,
    Plan,
    Summed,
    Used,
    coarsest,
    is_cut,
    parts,
    pieces,
    uncut,
    within_days,
)
from gputally.collector.database.schema import node, owner
from gputally.collector.database.schema_day import place, posting_day, summed_day
from gputally.collector.database.schema_month import namespace_month, summed_month
from gputally.collector.rates.changes import Changes

_DAY, _MONTH = summed_day.c, summed_month.c
_COARSEST = case((_DAY.sealed == 1, int(Detail.NAMESPACE)), else_=int(Detail.POSTING_DAY))
_SUMMED = union_all(
    select(_DAY.day_us, _DAY.end_us, _COARSEST).where(
        _DAY.day_us >= bindparam("start"), _DAY.end_us <= bindparam("end")
    ),
    select(_MONTH.month_us, _MONTH.end_us, literal_column(str(int(Detail.MONTH)))).where(
        _MONTH.month_us >= bindparam("start"), _MONTH.end_us <= bindparam("end")
    ),
)


def read_summed(connection: Connection, period: Period) -> list[Summed]:
    """The summed days that lie in a period, and the months that are made of them."""
    rows = connection.execute(_SUMMED, {"start": period.start_us, "end": period.end_us})
    return [Summed(start_us, end_us, Detail(of)) for start_us, end_us, of in rows]


def read_plan(connection: Connection, period: Period, starts: Sequence[int], changes: Changes, needed: Detail) -> Plan:
    """How to read a period whose steps begin at `starts`, with at least this much detail."""
    return plan_with(connection, period, starts, changes, needed, read_summed(connection, period))


def plan_with(
    connection: Connection,
    period: Period,
    starts: Sequence[int],
    changes: Changes,
    needed: Detail,
    summed: Sequence[Summed],
) -> Plan:
    """The same where the period's summed days are known."""
    cut_at = pieces(starts, changes)
    if needed is Detail.POSTING:
        return Plan(cut_at, parts(period, needed, ()))
    whole = uncut(period, cut_at.common, summed)
    split = _split(connection, changes, coarsest(needed, whole))
    found = coarsest(needed, (each for each in whole if each not in split))
    days = [each for each in found if each.detail is not Detail.MONTH]
    return Plan(cut_at, parts(period, needed, found, _cuts(connection, changes, days)))


def _split(connection: Connection, changes: Changes, found: Sequence[Summed]) -> set[Summed]:
    """The months within which a namespace changes that has time before and after: they are read by their days."""
    months = [each for each in found if each.detail is Detail.MONTH]
    return {
        month
        for month, names in within_days(changes.namespaces, months).items()
        if any(is_cut(changes.namespaces[name], used) for name, used in _used_in_month(connection, month, names))
    }


def _used_in_month(connection: Connection, month: Summed, names: Sequence[str]) -> Iterable[tuple[str, Used]]:
    row, name = namespace_month.c, place.c.namespace
    edges = select(name, func.min(row.first_us), func.max(row.last_us))
    edges = edges.join_from(namespace_month, place, place.c.id == row.place_id).group_by(name)
    of_pods = row.month_us == month.start_us, place.c.kind == OwnerKind.POD.value, name.in_(names)
    return [(name, Used(first_us, last_us)) for name, first_us, last_us in connection.execute(edges.where(*of_pods))]


def _cuts(connection: Connection, changes: Changes, days: Sequence[Summed]) -> list[Cut]:
    """What changes within a day is only cut where it has time before and after: most of what is new has none before."""
    namespaces = _cut(connection, changes.namespaces, days, owner.c.namespace)
    nodes = _cut(connection, changes.nodes, days, node.c.name)
    return [
        Cut(day, tuple(namespaces.get(day, ())), tuple(nodes.get(day, ()))) for day in sorted({*namespaces, *nodes})
    ]


def _cut(
    connection: Connection, changes: Mapping[str, Sequence[int]], days: Sequence[Summed], column: Column[str]
) -> dict[Summed, list[str]]:
    found = {
        day: [name for name, used in _used(connection, day, names, column) if is_cut(changes[name], used)]
        for day, names in within_days(changes, days).items()
    }
    return {day: names for day, names in found.items() if names}


def _used(connection: Connection, day: Summed, names: Sequence[str], column: Column[str]) -> Iterable[tuple[str, Used]]:
    row = posting_day.c
    pointer = row.owner_id if column.table is owner else row.node_id
    edges = select(column, func.min(row.first_us), func.max(row.last_us))
    edges = edges.join_from(posting_day, column.table, column.table.c.id == pointer)
    edges = edges.where(row.day_us == day.start_us, column.in_(names)).group_by(column)
    if column.table is owner:
        edges = edges.where(owner.c.kind == OwnerKind.POD.value)
    return [(name, Used(first_us, last_us)) for name, first_us, last_us in connection.execute(edges)]
