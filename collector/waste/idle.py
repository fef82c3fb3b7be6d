"""The idle time of pods as an answer needs it: summed as all that the postings say is, and nothing besides."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select

from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.cells import SOURCES, place_of, read_parts, sums, sums_of
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.nodes import Nodes
from gputally.collector.allocation.plan import Part, Pieces, Plan
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.summing import HEAD
from gputally.collector.rates.pricing import Key


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
    representatives = nodes.representatives
    for rows in read_parts(connection, plan, lambda part: _statement(query, plan.pieces, part, nodes)):
        for row in rows:
            yield IdleTime(row[1], place_of(row, representatives), tuple(row[len(HEAD) : -1]), row[-1])


@lru_cache(maxsize=64)
def _statement(query: Query, pieces: Pieces, part: Part, nodes: Nodes) -> Select[*tuple[Any, ...]]:
    source = SOURCES[part.detail]
    of = sums(query, source, part.spans, pieces, nodes)
    found = sums_of(of, part, ("idle_us",), source.table.c.idle_us > 0)
    return found.where(source.columns[By.KIND] == OwnerKind.POD.value)  # of what nobody held none is idle
