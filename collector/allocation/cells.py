"""The ledger as an answer needs it: summed by the database as far as prices and teams let it, a statement a table."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    case,
    literal_column,
    not_,
    or_,
    text,
)

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.nodes import Nodes
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import Cut, Detail, Part, Pieces, Plan
from gputally.collector.allocation.query import Query, Scope, Spread, TooMany
from gputally.collector.allocation.sources import (
    LOW_BITS,
    NAMESPACE_DAYS,
    NAMESPACE_MONTHS,
    POSTING_DAYS,
    POSTINGS,
    SUMMED,
    Source,
)
from gputally.collector.allocation.spans import piece_of
from gputally.collector.allocation.summing import HEAD, PLACE, SumRow, Sums
from gputally.collector.database.engine import is_sqlite
from gputally.collector.rates.pricing import Key

MAX_CELLS = 200_000  # some 650 MB while it is made; finer answers are asked for piece by piece
TOO_MANY = "too many rows: ask for a shorter window, a longer step, or fewer keys"

SOURCES: Mapping[Detail, Source] = {
    Detail.MONTH: NAMESPACE_MONTHS,
    Detail.NAMESPACE: NAMESPACE_DAYS,
    Detail.POSTING_DAY: POSTING_DAYS,
    Detail.POSTING: POSTINGS,
}
# A fleet's month is summed in memory: PostgreSQL's own 4 MB would sort it on disk. Sums are hashed, not sorted by
# names, of which PostgreSQL expects more than there are. Newest days are in memory, too: a look into an index takes as
# long as eight rows that are read in order, and not as a hundred: it would read the owners of all months for a day's.
_SETTINGS = {"work_mem": "128MB", "enable_sort": "off", "random_page_cost": "1.1", "cpu_tuple_cost": "0.03"}
_IN_MEMORY = text("SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items()))
_AS_USUAL = text("SET LOCAL enable_sort = on")


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
    connection: Connection, query: Query, plan: Plan, nodes: Nodes, apart: frozenset[By] = frozenset(PLACE)
) -> Iterator[Sequence[SumRow]]:
    """Sums of a query's period, part by part; raises TooMany. Of the places in a row's head those not `apart` are
    empty, or not summed up.
    """
    yield from read_parts(connection, plan, lambda part: _statement(query, plan.pieces, part, nodes, apart))


def read_parts(
    connection: Connection, plan: Plan, statement: Callable[[Part], Select[*tuple[Any, ...]]]
) -> Iterator[Sequence[SumRow]]:
    """What a plan's parts answer, one by one; raises TooMany."""
    left = MAX_CELLS
    if not is_sqlite(connection):
        connection.execute(_IN_MEMORY)
    for part in plan.parts:  # not through a cursor, which is planned for few rows
        rows = connection.execute(statement(part)).all()
        left -= len(rows)
        if left < 0:
            raise TooMany("aggregate", TOO_MANY)
        yield rows
    if not is_sqlite(connection):
        connection.execute(_AS_USUAL)


def in_scope(period: Period, scope: Scope) -> ColumnElement[bool]:
    """Which postings of a period may be seen; what is hidden never leaves the database."""
    return and_(POSTINGS.within((period,)), POSTINGS.visible(scope))


@lru_cache(maxsize=64)
def _statement(
    query: Query, pieces: Pieces, part: Part, nodes: Nodes, apart: frozenset[By]
) -> Select[*tuple[Any, ...]]:
    """Kept for dashboards, which ask the same again: to make it takes longer than a small ledger's answer."""
    return sums_of(sums(query, SOURCES[part.detail], part.spans, pieces, nodes, apart), part, SUMMED)


def sums_of(of: Sums, part: Part, names: Sequence[str], *within: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """Some of what is SUMMED, of the rows of a part, or those of them `within`; not more than are too many."""
    facts = [fact for name, fact in zip(SUMMED, of.source.facts(), strict=True) if name in names]
    rows = of.by_ids(facts, rows_of(part), *within)
    of_days = part.detail is Detail.POSTING_DAY  # of which there are hardly fewer by their ids
    found = of.by_names(rows if of_days else of.summed(rows, names), names)
    # A limit that is a parameter makes PostgreSQL plan for a tenth of the rows.
    return found.limit(literal_column(str(MAX_CELLS + 1), Integer))


def sums(
    query: Query,
    source: Source,
    spans: Sequence[Period],
    pieces: Pieces,
    nodes: Nodes,
    apart: frozenset[By] = frozenset(PLACE),
) -> Sums:
    """What rows within `spans` of a table are told apart by."""
    return Sums(query, source, piece(source, pieces), nodes, _alike(query, pieces, spans), apart)


def _alike(query: Query, pieces: Pieces, spans: Sequence[Period]) -> Mapping[str, ColumnElement[Any]]:
    """What is the same of all rows: the piece where they have one, and that they fit where others stay away."""
    found: dict[str, ColumnElement[Any]] = {}
    first, last = (bisect_right(pieces.edges, us) - 1 for us in (spans[0].start_us, spans[-1].end_us - 1))
    if first == last:
        found["piece"] = literal_column(str(first))
    if query.spread is Spread.NONE:
        found["matches"] = literal_column("1")
    return found


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


_KINDS = {kind.value: kind for kind in OwnerKind}
_POD = OwnerKind.POD.value


def amounts_of(values: Sequence[int | None]) -> tuple[int | None, ...]:
    """What is SUMMED as `amounts.Amounts` have it."""
    *found, low = values
    high = found[_MEMORY]
    found[_MEMORY] = None if high is None or low is None else (high << LOW_BITS) + low
    return tuple(found)


_MEMORY = SUMMED.index("memory_high")
