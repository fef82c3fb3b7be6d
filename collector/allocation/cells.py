"""The ledger as an answer needs it: summed by the database as far as prices and teams let it, a statement a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
    true,
)

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation import whose
from gputally.collector.allocation.grouping import READ, WHOSE, By
from gputally.collector.allocation.nodes import Nodes
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import Cut, Detail, Part, Pieces, Plan
from gputally.collector.allocation.query import Query, Scope, Spread, TooMany
from gputally.collector.allocation.sources import (
    LOW_BITS,
    NAMESPACE_DAYS,
    POSTING_DAYS,
    POSTINGS,
    SELDOM,
    SUMMED,
    Source,
)
from gputally.collector.allocation.spans import piece_of
from gputally.collector.database import schema
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.rates.pricing import Key

MAX_CELLS = 200_000  # some 200 MB; finer answers are asked for piece by piece

SOURCES: Mapping[Detail, Source] = {
    Detail.NAMESPACE: NAMESPACE_DAYS,
    Detail.POSTING_DAY: POSTING_DAYS,
    Detail.POSTING: POSTINGS,
}
_PLACE = (By.CLUSTER, By.MODEL, By.PROFILE, By.NAMESPACE, By.KIND)
_WORK_MEM = "128MB"  # a fleet's month is summed in memory; PostgreSQL's own 4 MB would sort it on disk
_FITS = "fits"  # by its name, because a text in it is another parameter in each place that it stands
_CLASS = "class_"  # likewise
_WHOSE = "whose_"  # likewise; no column is called so


class Cell(NamedTuple):
    """The postings of one piece of the period that have the same price, team, names and kind of owner.

    `amounts` are those of `amounts.Amounts`, in its order. `matches` says whether they fit the query's filter.
    `place.node` is a node that costs the same as theirs, and empty where all nodes do.
    """

    piece: int
    place: Key
    kind: OwnerKind
    names: tuple[str, ...]
    matches: bool
    amounts: tuple[int | None, ...]


def read_cells(connection: Connection, query: Query, plan: Plan, nodes: Nodes) -> Iterator[Cell]:
    """The cells of the query's period, part by part; raises TooMany."""
    columns = tuple(key for key in query.keys if key in READ)
    representatives = [*nodes.names, ""]  # -1 is the last
    left = MAX_CELLS
    if not is_sqlite(connection):
        connection.execute(text(f"SET LOCAL work_mem = '{_WORK_MEM}'"))
    for part in plan.parts:
        statement = _statement(query, columns, plan.pieces, part, nodes).limit(left + 1)
        rows = connection.execute(statement).all()  # not through a cursor, which is planned for few rows
        left -= len(rows)
        if left < 0:
            raise TooMany("aggregate", "too many rows: ask for a shorter window, a longer step, or fewer keys")
        yield from (_cell(row, len(columns), representatives) for row in rows)


def in_scope(period: Period, scope: Scope) -> ColumnElement[bool]:
    """Which postings of a period may be seen; what is hidden never leaves the database."""
    return and_(POSTINGS.within((period,)), POSTINGS.visible(scope))


def _statement(
    query: Query, columns: Sequence[By], pieces: Pieces, part: Part, nodes: Nodes
) -> Select[*tuple[Any, ...]]:
    """Sums by ids first, which takes a database a tenth of the time that sums by names take; then by names."""
    source = SOURCES[part.detail]
    own = [source.columns[key] for key in columns if key in source.columns and _is_own(source, key)]
    ids = _by_ids(query, own, pieces, part)
    if part.detail is Detail.NAMESPACE:
        return _of_places(source, ids, columns)

    def named(key: By) -> ColumnElement[Any]:
        if key in WHOSE:
            return whose.NAMES[key](schema.owner, pod_workload).label(_WHOSE + key)
        return ids.c[source.columns[key].name] if _is_own(source, key) else source.columns[key]

    before, after = [ids.c.piece, *map(named, _PLACE)], list(map(named, columns))
    grouped = [text(_WHOSE + key) if key in WHOSE else named(key) for key in columns]
    number = nodes.number(schema.node.c.id).label(_CLASS)
    statement = (
        select(number, *before, _matches(query, ids), *after, *_sums(ids.c))
        .join_from(ids, schema.node, schema.node.c.id == ids.c.node_id)
        .join(schema.device, schema.device.c.id == ids.c.device_id)
        .join(schema.owner, schema.owner.c.id == ids.c.owner_id)
        .group_by(*([text(_CLASS)] if nodes.alike else []), *before, text(_FITS), *grouped)
    )
    if WHOSE.isdisjoint(columns) and not query.where.asks_whose:
        return statement
    statement = statement.outerjoin(pod_workload, whose.learnt(schema.node, schema.owner, pod_workload))
    return statement if query.spread is not Spread.NONE else statement.where(query.where.whose())


def _of_places(source: Source, ids: Subquery, columns: Sequence[By]) -> Select[*tuple[Any, ...]]:
    """A place is all that these sums are told by, so names cannot sum them up further."""
    ((names, pointer),) = source.pointers.items()
    told = [source.columns[key] for key in (*_PLACE, *columns)]
    about, after = told[: len(_PLACE)], told[len(_PLACE) :]
    named = select(literal_column("-1").label(_CLASS), ids.c.piece, *about, ids.c.matches.label(_FITS), *after)
    return named.add_columns(*(ids.c[name] for name in SUMMED)).join_from(ids, names, names.c.id == ids.c[pointer.name])


def _is_own(source: Source, key: By) -> bool:
    return source.columns[key].table is source.table


def _matches(query: Query, ids: Subquery) -> ColumnElement[int]:
    """Whether the filter lets sums in; where the platform is spread, what it does not let in is needed as well."""
    if query.spread is Spread.NONE or not query.where.asks_whose:
        return ids.c.matches.label(_FITS)
    return case((query.where.whose(), ids.c.matches), else_=literal_column("0")).label(_FITS)


def _by_ids(query: Query, own: Sequence[Column[Any]], pieces: Pieces, part: Part) -> Subquery:
    """The rows in scope summed by piece, ids and those of their own columns that are asked for."""
    source = SOURCES[part.detail]
    fits = source.holds(query.where)
    spread = query.spread is not Spread.NONE
    # What is spread comes from rows that do not fit the filter, too.
    matches = case((fits, literal_column("1")), else_=literal_column("0")) if spread else literal_column("1")
    groups = {"piece": piece(source, pieces), "matches": matches}
    own = [*own, *([source.columns[By.PROFILE]] if _is_own(source, By.PROFILE) else [])]
    groups |= {column.name: column for column in (*source.pointers.values(), *own)}
    labelled = [column.label(name) for name, column in groups.items()]
    within = rows_of(part), source.visible(query.scope)
    facts = select(*labelled, *source.facts()).where(*within, true() if spread else fits).subquery()
    keys = [facts.c[name] for name in groups]
    return (
        select(*keys, *(total.label(name) for name, total in zip(SUMMED, _sums(facts.c), strict=True)))
        .group_by(*keys)
        .subquery()
    )


def piece(source: Source, pieces: Pieces) -> ColumnElement[Any]:
    """The number of the piece that a row lies in."""
    numbers = {us: at for at, us in enumerate(pieces.edges)}
    common = piece_of(source.first, pieces.common, [numbers[us] for us in pieces.common])
    if len(pieces.edges) == len(pieces.common):
        return common
    changed = _named(source, pieces.namespaces, pieces.nodes)
    return case((changed, piece_of(source.first, pieces.edges, range(len(pieces.edges)))), else_=common)


def rows_of(part: Part) -> ColumnElement[bool]:
    """The rows of a part, in its own table."""
    source = SOURCES[part.detail]
    within = source.within(part.spans)
    if part.only:
        return and_(within, or_(*(_cut(source, cut) for cut in part.only)))
    return and_(within, *(not_(_cut(source, cut)) for cut in part.without))


def _cut(source: Source, cut: Cut) -> ColumnElement[bool]:
    of_day = source.start >= cut.day.start_us, source.start < cut.day.end_us
    return and_(*of_day, _named(source, cut.namespaces, cut.nodes))


def _named(source: Source, namespaces: Sequence[str], nodes: Sequence[str]) -> ColumnElement[bool]:
    found = [source.among(By.NAMESPACE, namespaces)] if namespaces else []
    return or_(*found, *([source.among(By.NODE, nodes)] if nodes else []))


def _sums(facts: Any) -> list[ColumnElement[Any]]:
    # PostgreSQL sums bigints to numeric, which is slow to read; these sums fit.
    sums = {name: cast(func.sum(facts[name]), BigInteger) for name in SUMMED}
    return [func.coalesce(sums[name], literal_column("0")) if name in SELDOM else sums[name] for name in SUMMED]


def _cell(row: Row[*tuple[Any, ...]], names: int, representatives: Sequence[str]) -> Cell:
    number, piece, cluster, model, profile, namespace, kind, matches, *rest = row
    owner = _KINDS[kind]
    place = Key(cluster, representatives[number], model, profile, namespace if owner is OwnerKind.POD else None)
    return Cell(piece, place, owner, tuple(rest[:names]), bool(matches), _amounts(rest, names))


_KINDS = {kind.value: kind for kind in OwnerKind}


def _amounts(row: Sequence[int | None], at: int) -> tuple[int | None, ...]:
    """Those of a row that begin at a place in it, as SUMMED orders them."""
    idle_mj, dynamic_mj, gap_us = row[at + 8 : at + 11]
    high, low = row[at + 16 :]
    energy = dynamic_mj if idle_mj is None else idle_mj + (dynamic_mj or 0)
    memory = None if high is None or low is None else (high << LOW_BITS) + low
    return (*row[at : at + 8], energy, gap_us, memory, *row[at + 11 : at + 16])
