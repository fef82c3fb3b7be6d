"""Postings as an answer needs them: summed by the database as far as prices and teams let it, in one statement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Row,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.states import Basis, OwnerKind
from gputally.collector.allocation import whose
from gputally.collector.allocation.grouping import COLUMNS, POINTERS, READ, WHOSE, By, of_posting
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, QueryError, Scope, Spread
from gputally.collector.allocation.spans import piece_of
from gputally.collector.database import schema
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.rates.pricing import Key

MAX_CELLS = 200_000  # some 200 MB; finer answers are asked for piece by piece

_PLACE = (By.CLUSTER, By.NODE, By.MODEL, By.PROFILE, By.NAMESPACE)
_WORK_MEM = "128MB"  # a fleet's month is summed in memory; PostgreSQL's own 4 MB would sort it on disk
_FITS = "fits"  # by its name, because a text in it is another parameter in each place that it stands
_WHOSE = "whose_"  # likewise; no column is called so
_LOW_BITS = 20  # a fleet's byte-seconds outgrow 64 bits, so they are summed in two halves
_posting = schema.posting.c
_held = _posting.used_us + _posting.idle_us + _posting.unobserved_us

NAMED = schema.posting.join(schema.node).join(schema.device).join(schema.owner)


@dataclass(frozen=True, slots=True)
class Cell:
    """The postings of one piece of the period that have the same price, team, names and kind of owner.

    `amounts` are those of `amounts.Amounts`, in its order. `matches` says whether they fit the query's filter.
    """

    piece: int
    place: Key
    kind: OwnerKind
    names: tuple[str, ...]
    matches: bool
    amounts: tuple[int | None, ...]


def read_cells(connection: Connection, query: Query, edges: Sequence[int]) -> Iterator[Cell]:
    """The cells of the query's period, cut at `edges` (the first is its start); raises QueryError where too many."""
    columns = tuple(key for key in query.keys if key in READ)
    statement = _statement(query, columns, edges)
    if not is_sqlite(connection):
        connection.execute(text(f"SET LOCAL work_mem = '{_WORK_MEM}'"))
    rows = connection.execute(statement.limit(MAX_CELLS + 1))  # not through a cursor, which is planned for few rows
    for count, row in enumerate(rows, start=1):
        if count > MAX_CELLS:
            raise QueryError("aggregate", "too many rows: ask for a shorter window, a longer step, or fewer keys")
        yield _cell(row, len(columns))


def in_scope(period: Period, scope: Scope) -> ColumnElement[bool]:
    """Which postings of a period may be seen; what is hidden never leaves the database."""
    conditions = [_posting.hour_us >= period.start_us, _posting.hour_us < period.end_us]
    owner, node = schema.owner.c, schema.node.c
    if scope.namespaces is not None:
        own = and_(owner.kind == OwnerKind.POD.value, owner.namespace.in_(sorted(scope.namespaces)))
        conditions.append(of_posting(owner.namespace, own))
    if scope.clusters is not None:
        conditions.append(of_posting(node.cluster, node.cluster.in_(sorted(scope.clusters))))
    return and_(*conditions)


def _statement(query: Query, columns: Sequence[By], edges: Sequence[int]) -> Select[*tuple[Any, ...]]:
    """Sums by ids first, which takes a database a tenth of the time that sums by names take; then by names."""
    own = [COLUMNS[key] for key in columns if key in COLUMNS and COLUMNS[key].table is schema.posting]
    ids = _by_ids(query, own, edges)

    def named(key: By) -> ColumnElement[Any]:
        if key in WHOSE:
            return whose.NAMES[key](schema.owner, pod_workload).label(_WHOSE + key)
        return ids.c[COLUMNS[key].name] if COLUMNS[key].table is schema.posting else COLUMNS[key]

    before, after = [ids.c.piece, *map(named, _PLACE), schema.owner.c.kind], list(map(named, columns))
    grouped = [text(_WHOSE + key) if key in WHOSE else named(key) for key in columns]
    statement = (
        select(*before, _matches(query, ids), *after, *_sums(ids.c))
        .join_from(ids, schema.node, schema.node.c.id == ids.c.node_id)
        .join(schema.device, schema.device.c.id == ids.c.device_id)
        .join(schema.owner, schema.owner.c.id == ids.c.owner_id)
        .group_by(*before, text(_FITS), *grouped)
    )
    if WHOSE.isdisjoint(columns) and not query.where.asks_whose:
        return statement
    statement = statement.outerjoin(pod_workload, whose.learnt(schema.node, schema.owner, pod_workload))
    return statement if query.spread is not Spread.NONE else statement.where(query.where.whose())


def _matches(query: Query, ids: Subquery) -> ColumnElement[int]:
    """Whether the filter lets sums in; where the platform is spread, what it does not let in is needed as well."""
    if query.spread is Spread.NONE or not query.where.asks_whose:
        return ids.c.matches.label(_FITS)
    return case((query.where.whose(), ids.c.matches), else_=literal_column("0")).label(_FITS)


def _by_ids(query: Query, own: Sequence[Column[Any]], edges: Sequence[int]) -> Subquery:
    """The postings in scope summed by piece, ids and those of their own columns that are asked for."""
    fits = query.where.condition()
    spread = query.spread is not Spread.NONE
    # What is spread comes from postings that do not fit the filter, too.
    matches = case((fits, literal_column("1")), else_=literal_column("0")) if spread else literal_column("1")
    groups = {"piece": piece_of(_posting.hour_us, edges), "matches": matches}
    groups |= {column.name: column for column in (*POINTERS.values(), _posting.profile, *own)}
    labelled = [column.label(name) for name, column in groups.items()]
    facts = (
        select(*labelled, *_facts()).where(in_scope(query.period, query.scope), true() if spread else fits).subquery()
    )
    keys = [facts.c[name] for name in groups]
    return (
        select(*keys, *(total.label(name) for name, total in zip(_SUMMED, _sums(facts.c), strict=True)))
        .group_by(*keys)
        .subquery()
    )


def _facts() -> list[ColumnElement[Any]]:
    """What is summed, of each posting."""
    memory = _posting.memory_byte_s
    return [
        *(_posting[name] for name in _PLAIN if name != "reserved_us"),
        case((_posting.basis == Basis.RESERVATION.value, _held), else_=0).label("reserved_us"),
        memory.op(">>")(literal_column(str(_LOW_BITS))).label("memory_high"),
        memory.op("&")(literal_column(str((1 << _LOW_BITS) - 1))).label("memory_low"),
    ]


_STATES = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us")
_MEMOS = ("reserved_us", "burst_us", "intruder_us")
_QUALITY = ("quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")
_PLAIN = (*_STATES, *_MEMOS, "energy_idle_mj", "energy_dynamic_mj", "gap_us", *_QUALITY)
_SELDOM = (*schema.SELDOM, "gap_us")
_SUMMED = (*_PLAIN, "memory_high", "memory_low")


def _sums(facts: Any) -> list[ColumnElement[Any]]:
    # PostgreSQL sums bigints to numeric, which is slow to read; these sums fit.
    sums = {name: cast(func.sum(facts[name]), BigInteger) for name in _SUMMED}
    return [func.coalesce(sums[name], literal_column("0")) if name in _SELDOM else sums[name] for name in _SUMMED]


def _cell(row: Row[*tuple[Any, ...]], names: int) -> Cell:
    piece, cluster, node, model, profile, namespace, kind, matches, *rest = row
    owner = OwnerKind(kind)
    place = Key(cluster, node, model, profile, namespace if owner is OwnerKind.POD else None)
    return Cell(piece, place, owner, tuple(rest[:names]), bool(matches), _amounts(rest[names:]))


def _amounts(sums: Sequence[int | None]) -> tuple[int | None, ...]:
    times, (idle_mj, dynamic_mj, gap_us), quality, (high, low) = sums[:8], sums[8:11], sums[11:16], sums[16:]
    energy = None if idle_mj is None and dynamic_mj is None else (idle_mj or 0) + (dynamic_mj or 0)
    memory = None if high is None or low is None else (high << _LOW_BITS) + low
    return (*times, energy, gap_us, memory, *quality)
