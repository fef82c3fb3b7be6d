"""The kinds of idle time of a period, in time and in money.

Parts are kept of the hours in which a container's partition had an idle window; all other idle time lies between
kernels. So a row's kinds are those of its parts, and what is left of the idle time that the postings say: the sum of
the five is theirs, to the microsecond and to the last unit of money.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from gputally.accounting.states import State
from gputally.collector.allocation.allocation import Allocation, Ground, changes_of, read_allocation
from gputally.collector.allocation.grouping import READ, By
from gputally.collector.allocation.nodes import read_nodes_alike
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import detail
from gputally.collector.allocation.query import Query, QueryError, Spread
from gputally.collector.allocation.read_plan import read_plan
from gputally.collector.database.engine import reading
from gputally.collector.ledger.postings import catch_up
from gputally.collector.rates.cost import time_cost
from gputally.collector.rates.pricing import PRICES, Key, Pricer, read_prices
from gputally.collector.waste.cells import Cell, read_cells
from gputally.collector.waste.idle import IdleTime, read_idle_time
from gputally.collector.waste.kind import Kind

# What idle time has no other value of than one: it is a pod's, and reserved.
_SENSELESS = frozenset({By.KIND, By.USER, By.BASIS, By.REASON, By.SOURCE, By.STATE})
KEYS = tuple(key for key in By if key not in _SENSELESS)

_RowKey: TypeAlias = tuple[int, tuple[str, ...]]  # the step's place, and the names


@dataclass(frozen=True, slots=True)
class Wasted:
    """Idle time of one kind; `provisional_us` of it may yet turn out to be of another.

    `cost` is exact, as `rates.cost` counts, of the time that has a price: None where there is time and none of it has.
    """

    us: int = 0
    provisional_us: int = 0
    cost: int | None = 0
    unpriced_us: int = 0

    def plus(self, other: "Wasted") -> "Wasted":
        """Both together."""
        us, unpriced_us = self.us + other.us, self.unpriced_us + other.unpriced_us
        cost = (self.cost or 0) + (other.cost or 0)
        provisional_us = self.provisional_us + other.provisional_us
        return Wasted(us, provisional_us, None if us and us == unpriced_us else cost, unpriced_us)


@dataclass(frozen=True, slots=True)
class WasteRow:
    """One row: `keys` follow the query's."""

    step: Period
    keys: tuple[str, ...]
    kinds: Mapping[Kind, Wasted]

    @property
    def whole(self) -> Wasted:
        """The five kinds together: the row's idle time."""
        return summed(self.kinds.values())


@dataclass(frozen=True, slots=True)
class Waste:
    """An answer. Rows come step by step, and within one the dearest idle time first, of those without a price the
    longest. `total` is the whole of what was asked for. `idle` is the idle time that was divided, without rows."""

    query: Query
    rows: tuple[WasteRow, ...]
    total: Mapping[Kind, Wasted]
    idle: Allocation

    @property
    def currency(self) -> str:
        """Empty where there are no prices."""
        return self.idle.currency

    @property
    def ground(self) -> Ground:
        """What the answer rests on."""
        return self.idle.ground


class Kinds(NamedTuple):
    """An answer's rows, and the whole of them, in a currency: empty where there are no prices."""

    rows: tuple[WasteRow, ...]
    total: Mapping[Kind, Wasted]
    currency: str


def summed(parts: Iterable[Wasted]) -> Wasted:
    """All of them together."""
    us = provisional_us = cost = unpriced_us = 0
    for one in parts:
        us += one.us
        provisional_us += one.provisional_us
        cost += one.cost or 0
        unpriced_us += one.unpriced_us
    return Wasted(us, provisional_us, None if us and us == unpriced_us else cost, unpriced_us)


def waste(engine: Engine, billing: ZoneInfo, query: Query) -> Waste:
    """The ledger's answer; raises QueryError. `billing` is the zone that the ledger is booked in.

    What arrived and is not in the postings yet is settled first, so an answer never lags behind its windows.
    """
    _check(query, billing)
    catch_up(engine, billing)
    with reading(engine) as connection:
        return read_waste(connection, billing, query)


def read_waste(connection: Connection, billing: ZoneInfo, query: Query) -> Waste:
    """The same from what is settled; all of it sees one state of the database. Raises QueryError."""
    found = read_kinds(connection, billing, query)
    whole = replace(query, by=(), step=None, states=(State.IDLE,))
    return Waste(query, found.rows, found.total, read_allocation(connection, billing, whole))


def read_kinds(connection: Connection, billing: ZoneInfo, query: Query) -> Kinds:
    """The rows alone, for answers that are made of several; raises QueryError."""
    _check(query, billing)
    pricer = read_prices(connection, billing, query.as_of_us, PRICES, of_teams=True)
    needed = detail({*query.keys, *query.where.keys}, by_node=pricer.asks_labels)
    starts = [step.start_us for step in query.steps()]
    plan = read_plan(connection, query.period, starts, changes_of(pricer, query), needed)
    book = _Book(query, pricer, plan.pieces.edges)
    nodes = read_nodes_alike(connection, pricer, query.period)
    for idle in read_idle_time(connection, query, plan, nodes):
        book.hold(idle)
    for cell in read_cells(connection, query, plan.pieces, nodes):
        book.add(cell)
    rows = tuple(book.rows())
    total = {kind: summed(row.kinds[kind] for row in rows) for kind in Kind}
    return Kinds(rows, total, pricer.currency or "")


def _check(query: Query, billing: ZoneInfo) -> None:
    query.check(billing)
    senseless = [key for key in query.keys if key in _SENSELESS]
    if senseless:
        raise QueryError("aggregate", f"{senseless[0]}: idle time has no such name; expected {', '.join(KEYS)}")
    if any(clause.key in _SENSELESS for clause in query.where.clauses):
        raise QueryError("filter", f"idle time can be told apart by {', '.join(KEYS)}")
    if query.spread is not Spread.NONE:
        raise QueryError("shareIdle", "idle time is its owner's: nothing is spread over it")


class _Book:
    """Adds up the idle time of each row, and the parts of it whose kinds are known."""

    def __init__(self, query: Query, pricer: Pricer, edges: Sequence[int]) -> None:
        self._query = query
        self._pricer = pricer
        self._edges = edges
        self._steps = query.steps()
        starts = [step.start_us for step in self._steps]
        self._step_of = [bisect_right(starts, us) - 1 for us in edges]
        self._columns = tuple(key for key in query.keys if key in READ)
        self._keys = query.keys
        self._known: dict[tuple[int, Key], tuple[int | None, str]] = {}
        self._idle: dict[_RowKey, Wasted] = {}
        self._parts: dict[_RowKey, dict[Kind, Wasted]] = {}

    def hold(self, idle: IdleTime) -> None:
        """Add idle time to its row."""
        key, price = self._row_of(idle.piece, idle.place, idle.names)
        if key is not None:
            more, before = _wasted(idle.us, 0, price), self._idle.get(key)
            self._idle[key] = more if before is None else before.plus(more)

    def add(self, cell: Cell) -> None:
        """Add a cell to the parts of its row."""
        key, price = self._row_of(cell.piece, cell.place, cell.names)
        if key is None:
            return
        sums = self._parts.setdefault(key, dict(_NOTHING))
        for kind, share in zip(Kind, cell.kinds, strict=True):
            if any(share):
                sums[kind] = sums[kind].plus(_wasted(*share, price))

    def rows(self) -> list[WasteRow]:
        """The rows in their order."""
        ordered = sorted(self._idle.items(), key=lambda item: _order(*item))
        return [WasteRow(self._steps[key[0]], key[1], self._kinds(key, idle)) for key, idle in ordered]

    def _row_of(self, piece: int, place: Key, names: Sequence[str]) -> tuple[_RowKey | None, int | None]:
        """Which row it belongs to, None where the filter leaves it out, and its price."""
        price, team = self._priced(piece, place)
        told = {**dict(zip(self._columns, names, strict=True)), By.TEAM: team}
        if not self._query.where.holds(told):
            return None, None
        return (self._step_of[piece], tuple([told[by] for by in self._keys])), price

    def _priced(self, piece: int, place: Key) -> tuple[int | None, str]:
        found = self._known.get((piece, place))
        if found is None:
            priced = self._pricer.at(place, self._edges[piece])
            found = self._known[piece, place] = priced.rate.price, priced.team.team or ""
        return found

    def _kinds(self, key: _RowKey, idle: Wasted) -> Mapping[Kind, Wasted]:
        """What of a row's idle time its parts are not lies between kernels, for good."""
        kinds = self._parts.get(key)
        if kinds is None:
            return {**_NOTHING, Kind.BETWEEN: idle}
        parts = summed(kinds[kind] for kind in Kind if kind is not Kind.BETWEEN)
        us, unpriced_us = idle.us - parts.us, idle.unpriced_us - parts.unpriced_us
        cost = None if us and us == unpriced_us else (idle.cost or 0) - (parts.cost or 0)
        return {**kinds, Kind.BETWEEN: Wasted(us, kinds[Kind.BETWEEN].provisional_us, cost, unpriced_us)}


_NOTHING: Mapping[Kind, Wasted] = dict.fromkeys(Kind, Wasted())


def _wasted(us: int, provisional_us: int, price: int | None) -> Wasted:
    cost = time_cost(us, price) if us else 0
    return Wasted(us, provisional_us, cost, us if price is None else 0)


def _order(key: _RowKey, idle: Wasted) -> tuple[int, int, int, tuple[str, ...]]:
    return key[0], -(idle.cost or 0), -idle.us, key[1]
