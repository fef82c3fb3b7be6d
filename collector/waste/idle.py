"""The idle time of pods as an answer needs it: summed by the database as far as prices and teams let it, and nothing
besides.

The sums follow those of `allocation.cells`, which sum all that a posting has: most of that is not asked for here, and
what nobody held is not even read.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, Subquery, cast, func, select, text

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation import whose
from gputally.collector.allocation.cells import MAX_CELLS, SOURCES, piece, rows_of
from gputally.collector.allocation.grouping import READ, WHOSE, By
from gputally.collector.allocation.nodes import Nodes
from gputally.collector.allocation.plan import Detail, Part, Pieces, Plan
from gputally.collector.allocation.query import Query, TooMany
from gputally.collector.allocation.sources import Source
from gputally.collector.database import schema
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.rates.pricing import Key

_PLACE = (By.CLUSTER, By.MODEL, By.PROFILE, By.NAMESPACE)
_CLASS, _WHOSE = "class_", "whose_"  # names of columns that PostgreSQL groups by name
_ROOM = text("SELECT set_config('work_mem', '128MB', true), set_config('random_page_cost', '1.1', true)")


class IdleTime(NamedTuple):
    """Idle time of one piece of the period that has the same price, team and names.

    `place.node` is a node that costs the same as theirs, and empty where all nodes do.
    """

    piece: int
    place: Key
    names: tuple[str, ...]
    us: int


def read_idle_time(connection: Connection, query: Query, plan: Plan, nodes: Nodes) -> Iterator[IdleTime]:
    """The idle time of a query's period, part by part; raises TooMany."""
    columns = tuple(key for key in query.keys if key in READ)
    representatives, left = nodes.representatives, MAX_CELLS
    if not is_sqlite(connection):
        connection.execute(_ROOM)
    for part in plan.parts:
        rows = connection.execute(_statement(query, columns, plan.pieces, part, nodes).limit(left + 1)).all()
        left -= len(rows)
        if left < 0:
            raise TooMany("aggregate", "too many rows: ask for a shorter window, a longer step, or fewer keys")
        for number, at, cluster, model, profile, namespace, *names, us in rows:
            place = Key(cluster, representatives[number], model, profile, namespace)
            yield IdleTime(at, place, tuple(names), us)


@lru_cache(maxsize=64)
def _statement(
    query: Query, columns: tuple[By, ...], pieces: Pieces, part: Part, nodes: Nodes
) -> Select[*tuple[Any, ...]]:
    source = SOURCES[part.detail]
    facts = _facts(query, columns, pieces, part)

    def named(key: By) -> ColumnElement[Any]:
        if key in WHOSE:
            return whose.NAMES[key](schema.owner, pod_workload).label(_WHOSE + key)
        return facts.c[source.columns[key].name] if _is_own(source, key) else source.columns[key]

    before, after = [facts.c.piece, *map(named, _PLACE)], list(map(named, columns))
    grouped = [text(_WHOSE + key) if key in WHOSE else named(key) for key in columns]
    statement = select(nodes.number(schema.node.c.id).label(_CLASS), *before, *after, _sum(facts.c.idle_us))
    joined: Any = facts
    for names, pointer in source.pointers.items():
        joined = joined.join(names, names.c.id == facts.c[pointer.name])
    statement = statement.group_by(*([text(_CLASS)] if nodes.alike else []), *before, *grouped)
    statement = statement.where(source.columns[By.KIND] == OwnerKind.POD.value)
    if WHOSE.isdisjoint(columns) and not query.where.asks_whose:
        return statement.select_from(joined)
    learnt = joined.outerjoin(pod_workload, whose.learnt(schema.node, schema.owner, pod_workload))
    return statement.select_from(learnt).where(query.where.whose())


def _facts(query: Query, columns: Sequence[By], pieces: Pieces, part: Part) -> Subquery:
    """The rows in scope that have idle time; those of hours, of which there are many, are summed by their ids."""
    source = SOURCES[part.detail]
    own = [source.columns[key] for key in (By.PROFILE, *columns) if key in source.columns and _is_own(source, key)]
    groups = {"piece": piece(source, pieces)}
    groups |= {column.name: column for column in (*source.pointers.values(), *own)}
    idle_us = source.table.c.idle_us
    within = rows_of(part), source.visible(query.scope), source.holds(query.where), idle_us > 0
    facts = select(*(column.label(name) for name, column in groups.items()), idle_us).where(*within).subquery()
    if part.detail is not Detail.POSTING:
        return facts
    keys = [facts.c[name] for name in groups]
    return select(*keys, _sum(facts.c.idle_us).label("idle_us")).group_by(*keys).subquery()


def _is_own(source: Source, key: By) -> bool:
    return source.columns[key].table is source.table


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(func.sum(column), BigInteger)  # PostgreSQL sums bigints to numeric, which is slow to read
