"""Postings as an answer needs them: summed by the database as far as prices and teams let it, in one statement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, Select, and_, case, cast, func, literal_column, select, true
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.states import Basis, OwnerKind
from gputally.collector import schema
from gputally.collector.grouping import COLUMNS, By
from gputally.collector.period import Period
from gputally.collector.query import Query, QueryError, Scope, Spread
from gputally.collector.rates.pricing import Key
from gputally.collector.spans import piece_of

MAX_CELLS = 500_000  # some 300 MB; finer answers are asked for piece by piece

_PLACE = (By.CLUSTER, By.NODE, By.MODEL, By.PROFILE, By.NAMESPACE)
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
    columns = tuple(key for key in query.keys if key in COLUMNS)
    statement = _statement(query, columns, edges)
    rows = connection.execution_options(yield_per=5000).execute(statement)
    for count, row in enumerate(rows, start=1):
        if count > MAX_CELLS:
            raise QueryError("aggregate", "too many rows: ask for a shorter window, a longer step, or fewer keys")
        yield _cell(row, len(columns))


def in_scope(period: Period, scope: Scope) -> ColumnElement[bool]:
    """Which postings of a period may be seen; what is hidden never leaves the database."""
    conditions = [_posting.hour_us >= period.start_us, _posting.hour_us < period.end_us]
    if scope.namespaces is not None:
        conditions.append(schema.owner.c.kind == OwnerKind.POD.value)
        conditions.append(schema.owner.c.namespace.in_(sorted(scope.namespaces)))
    if scope.clusters is not None:
        conditions.append(schema.node.c.cluster.in_(sorted(scope.clusters)))
    return and_(*conditions)


def _statement(query: Query, columns: Sequence[By], edges: Sequence[int]) -> Select[*tuple[Any, ...]]:
    fits = query.where.condition()
    spread = query.spread is not Spread.NONE
    # What is spread comes from postings that do not fit the filter, too.
    matches = case((fits, literal_column("1")), else_=literal_column("0")) if spread else literal_column("1")
    groups = [piece_of(_posting.hour_us, edges), *(COLUMNS[key] for key in _PLACE), schema.owner.c.kind, matches]
    labelled = [column.label(f"group_{at}") for at, column in enumerate([*groups, *map(COLUMNS.__getitem__, columns)])]
    inner = (
        select(*labelled, *_facts())
        .select_from(NAMED)
        .where(in_scope(query.period, query.scope), true() if spread else fits)
        .subquery()
    )
    keys = [inner.c[column.name] for column in labelled]
    return select(*keys, *_sums(inner.c)).group_by(*keys)


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


def _sums(facts: Any) -> list[ColumnElement[Any]]:
    # PostgreSQL sums bigints to numeric, which is slow to read; these sums fit.
    return [cast(func.sum(facts[name]), BigInteger) for name in (*_PLAIN, "memory_high", "memory_low")]


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
