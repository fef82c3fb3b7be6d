"""Parts of idle time as an answer needs them: their kinds summed by the database as far as prices and teams let it.

The sums follow those of `allocation.cells`: by ids first, then by names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    FromClause,
    Row,
    Select,
    Subquery,
    and_,
    cast,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.allocation import whose
from gputally.collector.allocation.cells import MAX_CELLS, piece
from gputally.collector.allocation.grouping import COLUMNS, READ, WHOSE, By
from gputally.collector.allocation.nodes import Nodes
from gputally.collector.allocation.plan import Pieces
from gputally.collector.allocation.query import Query, TooMany
from gputally.collector.allocation.sources import of_rows
from gputally.collector.database import schema
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema_waste import idle_part
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.ledger.state import State, read_state
from gputally.collector.rates.pricing import Key
from gputally.collector.waste.division import Share
from gputally.collector.waste.division_sql import kinds
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.lives import kept, lives

_PLACE = (By.CLUSTER, By.MODEL, By.PROFILE, By.NAMESPACE)
_WORK_MEM = "128MB"
_CLASS, _WHOSE = "class_", "whose_"  # before the names of columns that PostgreSQL groups by name
_PARTS = of_rows(idle_part, idle_part.c.hour_us, idle_part.c.hour_us)


@dataclass(frozen=True, slots=True)
class Cell:
    """The parts of one piece of the period that have the same price, team and names.

    `place.node` is a node that costs the same as theirs, and empty where all nodes do. Of the idle time between
    kernels only what is provisional is told: the rest of it is in no part.
    """

    piece: int
    place: Key
    names: tuple[str, ...]
    kinds: tuple[Share, ...]


def read_cells(connection: Connection, query: Query, cut_at: Pieces, nodes: Nodes) -> Iterator[Cell]:
    """The cells of the query's period, cut into pieces; raises TooMany."""
    columns, representatives = tuple(key for key in query.keys if key in READ), nodes.representatives
    statement = _statement(connection, query, columns, cut_at, nodes)
    for count, row in enumerate(_rows(connection, statement.limit(MAX_CELLS + 1)), start=1):
        if count > MAX_CELLS:
            raise TooMany("aggregate", "too many rows: ask for a shorter window, a longer step, or fewer keys")
        yield _cell(row, representatives, len(columns))


def _rows(connection: Connection, statement: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
    """PostgreSQL cannot guess how many lives there are, takes them for few, and would go through all parts for each."""
    if is_sqlite(connection):
        return connection.execute(statement).all()
    connection.execute(text(f"SET LOCAL work_mem = '{_WORK_MEM}'"))
    connection.execute(text("SET LOCAL enable_nestloop = off"))
    rows = connection.execute(statement).all()
    connection.execute(text("SET LOCAL enable_nestloop = on"))
    return rows


def _cell(row: Sequence[Any], representatives: Sequence[str], names: int) -> Cell:
    number, at, cluster, model, profile, namespace = row[: 2 + len(_PLACE)]
    rest = row[2 + len(_PLACE) :]
    sums = rest[names:]
    shares = tuple(Share(*pair) for pair in zip(sums[::2], sums[1::2], strict=True))
    return Cell(at, Key(cluster, representatives[number], model, profile, namespace), tuple(rest[:names]), shares)


def _statement(
    connection: Connection, query: Query, columns: tuple[By, ...], cut_at: Pieces, nodes: Nodes
) -> Select[*tuple[Any, ...]]:
    state = read_state(connection)
    if is_sqlite(connection):
        return _of_lives(query, columns, cut_at, nodes, kept(connection, lives(_asked(query), state)))
    return _kept_statement(query, columns, cut_at, nodes, state)


@lru_cache(maxsize=64)
def _kept_statement(
    query: Query, columns: tuple[By, ...], cut_at: Pieces, nodes: Nodes, state: State
) -> Select[*tuple[Any, ...]]:
    """Kept for dashboards, as those of the allocation are: it is long."""
    return _of_lives(query, columns, cut_at, nodes, lives(_asked(query), state))


def _asked(query: Query) -> Subquery:
    """The containers that have parts."""
    return select(idle_part.c.owner_id, idle_part.c.node_id).where(_within(query)).distinct().subquery("asked")


def _of_lives(
    query: Query, columns: tuple[By, ...], cut_at: Pieces, nodes: Nodes, life: FromClause
) -> Select[*tuple[Any, ...]]:
    own = [_own(key) for key in columns if _is_own(key)]
    ids = _by_ids(query, own, cut_at, life)

    def named(key: By) -> ColumnElement[Any]:
        if key in WHOSE:
            return whose.NAMES[key](schema.owner, pod_workload).label(_WHOSE + key)
        return ids.c[COLUMNS[key].name] if _is_own(key) else COLUMNS[key]

    number = nodes.number(schema.node.c.id).label(_CLASS)
    before, after = [ids.c.piece, *map(named, _PLACE)], list(map(named, columns))
    grouped = [text(_WHOSE + key) if key in WHOSE else named(key) for key in columns]
    statement = (
        select(number, *before, *after, *(_sum(ids.c[name]) for name in _SUMMED))
        .join_from(ids, schema.node, schema.node.c.id == ids.c.node_id)
        .join(schema.device, schema.device.c.id == ids.c.device_id)
        .join(schema.owner, schema.owner.c.id == ids.c.owner_id)
        .group_by(*([text(_CLASS)] if nodes.alike else []), *before, *grouped)
    )
    if WHOSE.isdisjoint(columns) and not query.where.asks_whose:
        return statement
    learnt = whose.learnt(schema.node, schema.owner, pod_workload)
    return statement.outerjoin(pod_workload, learnt).where(query.where.whose())


def _by_ids(query: Query, own: Sequence[Column[Any]], cut_at: Pieces, life: FromClause) -> Subquery:
    """The kinds of the parts in scope, summed by piece and ids."""
    within = _within(query)
    same = and_(*(life.c[name] == idle_part.c[name] for name in ("owner_id", "node_id", "device_id", "partition")))
    groups = {"piece": piece(_PARTS, cut_at)}
    groups |= {column.name: column for column in (*_PARTS.pointers.values(), idle_part.c.profile, *own)}
    pairs = {**kinds(idle_part, life)}
    pairs[Kind.BETWEEN] = literal_column("0"), pairs[Kind.BETWEEN][1]
    sums = [us for kind in Kind for us in pairs[kind]]
    facts = (
        select(
            *(column.label(name) for name, column in groups.items()),
            *(us.label(name) for name, us in zip(_SUMMED, sums, strict=True)),
        )
        .join_from(idle_part, life, same, isouter=True)  # each has one; so that SQLite begins with the parts
        .where(within)
        .subquery("facts")
    )
    keys = [facts.c[name] for name in groups]
    return select(*keys, *(_sum(facts.c[name]).label(name) for name in _SUMMED)).group_by(*keys).subquery("ids")


def _within(query: Query) -> ColumnElement[bool]:
    """Which parts may be seen and fit, as far as their ids tell."""
    return and_(_PARTS.within((query.period,)), _PARTS.visible(query.scope), _PARTS.holds(query.where))


def _is_own(key: By) -> bool:
    """Whether a name stands in the parts themselves, as it does in the postings."""
    return key in COLUMNS and COLUMNS[key].table is schema.posting


def _own(key: By) -> Column[Any]:
    return idle_part.c[COLUMNS[key].name]


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(func.sum(column), BigInteger)


_SUMMED = tuple(f"{kind}{of}" for kind in Kind for of in ("_us", "_provisional_us"))
