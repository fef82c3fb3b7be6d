"""The kinds of idle time of a period, in time and in money.

Parts are kept of the hours in which a container's partition had an idle window; all other idle time lies between
kernels. So a row's kinds are those of its parts, and what is left of the idle time that the postings say: the sum of
the five is theirs, to the microsecond and to the last unit of money.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.allocation import Allocation, Ground, changes_of, read_allocation
from gputally.collector.allocation.grouping import READ, By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import pieces
from gputally.collector.allocation.query import Query, QueryError, Spread
from gputally.collector.allocation.sheet import Row
from gputally.collector.database.engine import reading
from gputally.collector.ledger.postings import catch_up
from gputally.collector.rates.cost import time_cost
from gputally.collector.rates.pricing import PRICES, Pricer, read_pricer
from gputally.collector.waste.cells import Cell, read_cells
from gputally.collector.waste.kind import Kind

# What idle time has no other value of than one: it is a pod's, and reserved.
_SENSELESS = frozenset({By.KIND, By.USER, By.BASIS, By.REASON, By.SOURCE, By.STATE})
KEYS = tuple(key for key in By if key not in _SENSELESS)
_IDLE = list(State).index(State.IDLE)

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
    longest. `total` is the whole of what was asked for. `idle` is the idle time that was divided, of whomever."""

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


def summed(parts: Iterable[Wasted]) -> Wasted:
    """All of them together."""
    whole = Wasted()
    for one in parts:
        whole = whole.plus(one)
    return whole


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
    _check(query, billing)
    idle = read_allocation(connection, billing, replace(query, states=(State.IDLE,)))
    pricer = read_pricer(connection, billing, query.as_of_us, PRICES)
    cut_at = pieces([step.start_us for step in query.steps()], changes_of(pricer, query))
    book = _Book(query, pricer, cut_at.edges)
    for cell in read_cells(connection, query, cut_at):
        book.add(cell)
    rows = sorted(
        (book.row(row) for row in idle.rows if row.owner == OwnerKind.POD and row.amounts.idle_us), key=_order
    )
    total = {kind: summed(row.kinds[kind] for row in rows) for kind in Kind}
    return Waste(query, tuple(rows), total, idle)


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
    """Adds up the parts of each row."""

    def __init__(self, query: Query, pricer: Pricer, edges: Sequence[int]) -> None:
        self._query = query
        self._pricer = pricer
        self._edges = edges
        self._starts = [step.start_us for step in query.steps()]
        self._columns = tuple(key for key in query.keys if key in READ)
        self._sums: dict[_RowKey, dict[Kind, Wasted]] = {}

    def add(self, cell: Cell) -> None:
        """Add a cell to its row."""
        at_us = self._edges[cell.piece]
        priced = self._pricer.at(cell.place, at_us)
        names = {**dict(zip(self._columns, cell.names, strict=True)), By.TEAM: priced.team.team or ""}
        if not self._query.where.holds(names):
            return
        key = self._starts[bisect_right(self._starts, at_us) - 1], tuple(names[by] for by in self._query.keys)
        sums = self._sums.setdefault(key, dict.fromkeys(Kind, Wasted()))
        for kind, share in zip(Kind, cell.kinds, strict=True):
            sums[kind] = sums[kind].plus(_wasted(*share, priced.rate.price))

    def row(self, row: Row) -> WasteRow:
        """The kinds of a row of idle time: what its parts are not lies between kernels, for good."""
        kinds = self._sums.get((row.step.start_us, row.keys), dict.fromkeys(Kind, Wasted()))
        parts = summed(kinds[kind] for kind in Kind if kind is not Kind.BETWEEN)
        us, unpriced_us = row.amounts.idle_us - parts.us, row.money.unpriced[_IDLE] - parts.unpriced_us
        cost = None if us and us == unpriced_us else row.money.by_state[_IDLE] - (parts.cost or 0)
        between = Wasted(us, kinds[Kind.BETWEEN].provisional_us, cost, unpriced_us)
        return WasteRow(row.step, row.keys, {**kinds, Kind.BETWEEN: between})


def _wasted(us: int, provisional_us: int, price: int | None) -> Wasted:
    cost = time_cost(us, price) if us else 0
    return Wasted(us, provisional_us, cost, us if price is None else 0)


def _order(row: WasteRow) -> tuple[int, int, int, tuple[str, ...]]:
    return (row.step.start_us, -(row.whole.cost or 0), -row.whole.us, row.keys)
