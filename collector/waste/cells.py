"""Parts of idle time as an answer needs them: their kinds summed by the database as far as prices and teams let it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Connection,
    FromClause,
    Row,
    Select,
    Subquery,
    and_,
    literal_column,
    select,
    text,
)

from gputally.collector.allocation.cells import MAX_CELLS, TOO_MANY, place_of, sums
from gputally.collector.allocation.nodes import Nodes
from gputally.collector.allocation.plan import Pieces
from gputally.collector.allocation.query import Query, TooMany
from gputally.collector.allocation.sources import of_rows
from gputally.collector.allocation.summing import HEAD, SumRow
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema_waste import idle_part
from gputally.collector.ledger.state import State, read_state
from gputally.collector.rates.pricing import Key
from gputally.collector.waste.division import Share
from gputally.collector.waste.division_sql import kinds
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.lives import kept, lives

_WORK_MEM = "128MB"
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
    representatives, statement = nodes.representatives, _statement(connection, query, cut_at, nodes)
    for count, row in enumerate(_rows(connection, statement.limit(MAX_CELLS + 1)), start=1):
        if count > MAX_CELLS:
            raise TooMany("aggregate", TOO_MANY)
        yield _cell(row, representatives)


def _rows(connection: Connection, statement: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
    """PostgreSQL cannot guess how many lives there are, takes them for few, and would go through all parts for each."""
    if is_sqlite(connection):
        return connection.execute(statement).all()
    connection.execute(text(f"SET LOCAL work_mem = '{_WORK_MEM}'"))
    connection.execute(text("SET LOCAL enable_nestloop = off"))
    rows = connection.execute(statement).all()
    connection.execute(text("SET LOCAL enable_nestloop = on"))
    return rows


def _cell(row: SumRow, representatives: Sequence[str]) -> Cell:
    names, found = row[len(HEAD) : -len(_SUMMED)], row[-len(_SUMMED) :]
    shares = tuple(Share(*pair) for pair in zip(found[::2], found[1::2], strict=True))
    return Cell(row[1], place_of(row, representatives), tuple(names), shares)


def _statement(connection: Connection, query: Query, cut_at: Pieces, nodes: Nodes) -> Select[*tuple[Any, ...]]:
    state = read_state(connection)
    if is_sqlite(connection):
        return _of_lives(query, cut_at, nodes, kept(connection, lives(_asked(query), state)))
    return _kept_statement(query, cut_at, nodes, state)


@lru_cache(maxsize=64)
def _kept_statement(query: Query, cut_at: Pieces, nodes: Nodes, state: State) -> Select[*tuple[Any, ...]]:
    """Kept for dashboards, as those of the allocation are: it is long."""
    return _of_lives(query, cut_at, nodes, lives(_asked(query), state))


def _asked(query: Query) -> Subquery:
    """The containers that have parts."""
    within = _PARTS.within((query.period,)), _PARTS.visible(query.scope), _PARTS.holds(query.where)
    return select(idle_part.c.owner_id, idle_part.c.node_id).where(*within).distinct().subquery("asked")


def _of_lives(query: Query, cut_at: Pieces, nodes: Nodes, life: FromClause) -> Select[*tuple[Any, ...]]:
    """The kinds of the parts in scope."""
    same = and_(*(life.c[name] == idle_part.c[name] for name in ("owner_id", "node_id", "device_id", "partition")))
    pairs = {**kinds(idle_part, life)}
    pairs[Kind.BETWEEN] = literal_column("0"), pairs[Kind.BETWEEN][1]
    facts = [us.label(name) for name, us in zip(_SUMMED, (us for kind in Kind for us in pairs[kind]), strict=True)]
    parts = idle_part.outerjoin(life, same)  # each has one; so that SQLite begins with the parts
    of = sums(query, _PARTS, (query.period,), cut_at, nodes)
    return of.by_names(of.summed(of.by_ids(facts, _PARTS.within((query.period,)), joined=parts), _SUMMED), _SUMMED)


_SUMMED = tuple(f"{kind}{of}" for kind in Kind for of in ("_us", "_provisional_us"))
