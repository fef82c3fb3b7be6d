"""The ledger as an answer needs it: summed by the database as far as prices and teams let it, a statement a table."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
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

MAX_CELLS = 200_000  # some 650 MB while it is made; finer answers are asked for piece by piece

SOURCES: Mapping[Detail, Source] = {
    Detail.NAMESPACE: NAMESPACE_DAYS,
    Detail.POSTING_DAY: POSTING_DAYS,
    Detail.POSTING: POSTINGS,
}
_PLACE = (By.CLUSTER, By.MODEL, By.PROFILE, By.NAMESPACE, By.KIND)
# A fleet's month is summed in memory: PostgreSQL's own 4 MB would sort it on disk. Sums are hashed, not sorted by
# names, of which PostgreSQL expects more than there are. Newest days are in memory, too: a look into an index takes as
# long as eight rows that are read in order, and not as a hundred: it would read the owners of all months for a day's.
_SETTINGS = {"work_mem": "128MB", "enable_sort": "off", "random_page_cost": "1.1", "cpu_tuple_cost": "0.03"}
_IN_MEMORY = text("SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items()))
_AS_USUAL = text("SET LOCAL enable_sort = on")
_FITS = "fits"  # by its name, because a text in it is another parameter in each place that it stands
_CLASS = "class_"  # likewise
_WHOSE = "whose_"  # likewise; no column is called so
_UNTOLD: ColumnElement[str] = literal_column("''")


# What stands before the names in a row.
HEAD = ("class", "piece", "cluster", "model", "profile", "namespace", "kind", "matches")
SumRow: TypeAlias = Sequence[Any]  # HEAD, names, and what is SUMMED


class Cell(NamedTuple):
    """The postings of one piece of the period that have the same price, team, names and kind of owner.

    `amounts` are those of `amounts.Amounts`, in its order. `place.node` is a node that costs the same as theirs, and
    empty where all nodes do.
    """

    piece: int
    place: Key
    kind: OwnerKind
    amounts: tuple[int | None, ...]


def read_cells(connection: Connection, query: Query, plan: Plan, nodes: Nodes) -> Iterator[Cell]:
    """The cells of a query's period that asks for no names, part by part; raises TooMany."""
    representatives = nodes.representatives
    for rows in read_rows(connection, query, plan, nodes):
        for row in rows:
            kind = _KINDS[row[6]]
            yield Cell(row[1], place_of(row, representatives), kind, amounts_of(row[len(HEAD) :]))


def place_of(row: SumRow, representatives: Sequence[str]) -> Key:
    """What a row's price depends on."""
    number, _, cluster, model, profile, namespace, kind = row[:7]
    return Key(cluster, representatives[number], model, profile, namespace if kind == _POD else None)


def read_rows(
    connection: Connection, query: Query, plan: Plan, nodes: Nodes, apart: frozenset[By] = frozenset(_PLACE)
) -> Iterator[Sequence[SumRow]]:
    """Sums of a query's period, part by part; raises TooMany. Of the places in a row's head those not `apart` are
    empty, or not summed up.
    """
    columns = tuple(key for key in query.keys if key in READ)
    left = MAX_CELLS
    if not is_sqlite(connection):
        connection.execute(_IN_MEMORY)
    for part in plan.parts:  # not through a cursor, which is planned for few rows
        rows = connection.execute(_statement(query, columns, plan.pieces, part, nodes, apart)).all()
        left -= len(rows)
        if left < 0:
            raise TooMany("aggregate", "too many rows: ask for a shorter window, a longer step, or fewer keys")
        yield rows
    if not is_sqlite(connection):
        connection.execute(_AS_USUAL)


def in_scope(period: Period, scope: Scope) -> ColumnElement[bool]:
    """Which postings of a period may be seen; what is hidden never leaves the database."""
    return and_(POSTINGS.within((period,)), POSTINGS.visible(scope))


@lru_cache(maxsize=64)
def _statement(
    query: Query, columns: tuple[By, ...], pieces: Pieces, part: Part, nodes: Nodes, apart: frozenset[By]
) -> Select[*tuple[Any, ...]]:
    """Kept for dashboards, which ask the same again: to make it takes longer than a small ledger's answer."""
    # A limit that is a parameter makes PostgreSQL plan for a tenth of the rows.
    return _sums_of(query, columns, pieces, part, nodes, apart).limit(literal_column(str(MAX_CELLS + 1), Integer))


def _sums_of(
    query: Query, columns: tuple[By, ...], pieces: Pieces, part: Part, nodes: Nodes, apart: frozenset[By]
) -> Select[*tuple[Any, ...]]:
    """Hours by ids first, which takes a database a tenth of the time that sums by names take; then by names."""
    source = SOURCES[part.detail]
    own = [source.columns[key] for key in columns if key in source.columns and _is_own(source, key)]
    alike = _alike(query, pieces, part)
    ids = _by_ids(query, own, pieces, part, alike)
    if part.detail is Detail.NAMESPACE:
        return _of_places(source, ids, columns, alike)

    def named(key: By) -> ColumnElement[Any]:
        if key in WHOSE:
            return whose.NAMES[key](schema.owner, pod_workload).label(_WHOSE + key)
        return ids.c[source.columns[key].name] if _is_own(source, key) else source.columns[key]

    places = [named(key) if key in apart else _UNTOLD for key in _PLACE]
    number, fits = nodes.number(schema.node.c.id).label(_CLASS), _matches(query, _told("matches", ids, alike))
    statement = select(number, _told("piece", ids, alike), *places, fits, *map(named, columns), *_sums(ids.c))
    told = (*(key for key in _PLACE if key in apart), *columns)
    grouped = [text(_WHOSE + key) if key in WHOSE else named(key) for key in told]
    varying: list[Any] = [text(_CLASS)] if nodes.alike else []
    varying += [] if "piece" in alike else [ids.c.piece]
    varying += [] if "matches" in alike else [text(_FITS)]
    statement = statement.group_by(*varying, *grouped)
    asks_whose = query.where.asks_whose or not WHOSE.isdisjoint(columns)
    read = {source.columns[key].table for key in told if key not in WHOSE}
    needed = {*read, *([schema.node] if nodes.alike or asks_whose else []), schema.owner}
    joined: FromClause = ids
    for table, pointer in source.pointers.items():
        joined = joined.join(table, table.c.id == ids.c[pointer.name]) if table in needed else joined
    if not asks_whose:
        return statement.select_from(joined)
    joined = joined.outerjoin(pod_workload, whose.learnt(schema.node, schema.owner, pod_workload))
    statement = statement.select_from(joined)
    return statement if query.spread is not Spread.NONE else statement.where(query.where.whose())


def _alike(query: Query, pieces: Pieces, part: Part) -> Mapping[str, ColumnElement[Any]]:
    """What is the same of all rows of a part: the piece where it has one, and that they fit where others stay away."""
    found: dict[str, ColumnElement[Any]] = {}
    first, last = (bisect_right(pieces.edges, us) - 1 for us in (part.spans[0].start_us, part.spans[-1].end_us - 1))
    if first == last:
        found["piece"] = literal_column(str(first))
    if query.spread is Spread.NONE:
        found["matches"] = literal_column("1")
    return found


def _told(name: str, ids: Subquery, alike: Mapping[str, ColumnElement[Any]]) -> ColumnElement[Any]:
    return alike[name] if name in alike else ids.c[name]


def _of_places(
    source: Source, ids: Subquery, columns: Sequence[By], alike: Mapping[str, ColumnElement[Any]]
) -> Select[*tuple[Any, ...]]:
    """A place is all that these sums are told by, so names cannot sum them up further."""
    ((names, pointer),) = source.pointers.items()
    told = [source.columns[key] for key in (*_PLACE, *columns)]
    about, after = told[: len(_PLACE)], told[len(_PLACE) :]
    piece, matches = (_told(name, ids, alike) for name in ("piece", "matches"))
    named = select(literal_column("-1").label(_CLASS), piece, *about, matches.label(_FITS), *after)
    return named.add_columns(*(ids.c[name] for name in SUMMED)).join_from(ids, names, names.c.id == ids.c[pointer.name])


def _is_own(source: Source, key: By) -> bool:
    return source.columns[key].table is source.table


def _matches(query: Query, matches: ColumnElement[int]) -> ColumnElement[int]:
    """Whether the filter lets sums in; where the platform is spread, what it does not let in is needed as well."""
    if query.spread is Spread.NONE or not query.where.asks_whose:
        return matches.label(_FITS)
    return case((query.where.whose(), matches), else_=literal_column("0")).label(_FITS)


def _by_ids(
    query: Query, own: Sequence[Column[Any]], pieces: Pieces, part: Part, alike: Mapping[str, ColumnElement[Any]]
) -> Subquery:
    """The rows in scope summed by piece, ids and those of their own columns that are asked for."""
    source = SOURCES[part.detail]
    fits = source.holds(query.where)
    spread = query.spread is not Spread.NONE
    # What is spread comes from rows that do not fit the filter, too.
    matches = case((fits, literal_column("1")), else_=literal_column("0"))
    groups = {"piece": piece(source, pieces), "matches": matches}
    groups = {name: column for name, column in groups.items() if name not in alike}
    own = [*own, *([source.columns[By.PROFILE]] if _is_own(source, By.PROFILE) else [])]
    groups |= {column.name: column for column in (*source.pointers.values(), *own)}
    labelled = [column.label(name) for name, column in groups.items()]
    within = rows_of(part), source.visible(query.scope)
    facts = select(*labelled, *source.facts()).where(*within, true() if spread else fits).subquery()
    if part.detail is Detail.POSTING_DAY:  # of which there are hardly fewer by their ids
        return facts
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


_KINDS = {kind.value: kind for kind in OwnerKind}
_POD = OwnerKind.POD.value


def amounts_of(values: Sequence[int | None]) -> tuple[int | None, ...]:
    """What is SUMMED as `amounts.Amounts` have it."""
    *found, low = values
    high = found[_MEMORY]
    found[_MEMORY] = None if high is None or low is None else (high << LOW_BITS) + low
    return tuple(found)


_MEMORY = SUMMED.index("memory_high")
