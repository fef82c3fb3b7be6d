"""Cells added up to the rows of an answer: priced, named by team, cut into states, the platform spread if asked."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.amounts import Amounts, Tally, energy_of, of_states
from gputally.collector.allocation.cells import Cell
from gputally.collector.allocation.grouping import READ, By
from gputally.collector.allocation.money import Money, Purse
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Spread
from gputally.collector.allocation.spread import NO_STAKES, Part, Shared, Stakes, spread
from gputally.collector.rates.pricing import Priced, Pricer, Rate


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `keys` follow the query's, `owner` is pod, host or platform.

    `shared_us` is the time that spreading adds (to the platform: takes away); `amounts` never hold it.
    """

    step: Period
    keys: tuple[str, ...]
    owner: str
    amounts: Amounts
    money: Money
    shared_us: int = 0


class _Key(NamedTuple):
    step: int
    owner: str
    names: tuple[str, ...]
    fits: bool  # the filter; what does not fit matters only to what is spread


@dataclass(slots=True)
class _Sum:
    tally: Tally = field(default_factory=Tally)
    purse: Purse = field(default_factory=Purse)

    def add(self, values: Sequence[int | None], rate: Rate) -> None:
        self.tally.add(values)
        self.purse.spend(rate, [us or 0 for us in values[: len(State)]], energy_of(values))


class Sheet:
    """Takes a query's cells, gives its rows."""

    def __init__(self, query: Query, pricer: Pricer, edges: Sequence[int]) -> None:
        """`edges` is where the cells' pieces begin. Raises QueryError where steps are too many."""
        self._query = query
        self._pricer = pricer
        self._steps = query.steps()
        self._starts = [step.start_us for step in self._steps]
        self._edges = edges
        self._columns = tuple(key for key in query.keys if key in READ)
        self._sums: dict[_Key, _Sum] = {}
        self._parts: dict[tuple[str, str | None, _Key], _Sum] = {}
        self._whole = Tally()
        self._everything = Tally()

    @property
    def whole(self) -> Amounts:
        """The sum of all that fits, also of what no state can claim for itself."""
        return self._whole.amounts

    @property
    def everything(self) -> Amounts:
        """The same in all states, whichever are asked for: what the capacity and its coverage are told from."""
        return self._everything.amounts

    def add(self, cell: Cell) -> None:
        """Add a cell to its row, or to its rows by state."""
        priced = self._pricer.at(cell.place, self._edges[cell.piece])
        names = self._names(cell, priced)
        fits = cell.matches and self._query.where.holds(names)
        if not fits and self._query.spread is Spread.NONE:
            return
        if fits:
            self._everything.add(cell.amounts)
            self._whole.add(of_states(cell.amounts, self._query.states))
        for state_name, values in self._by_state(cell):
            key = self._key(cell, names, state_name, fits)
            self._sums.setdefault(key, _Sum()).add(values, priced.rate)
            if self._query.spread is not Spread.NONE:
                self._part(cell, key).add(values, priced.rate)

    def rows(self, stakes: Stakes = NO_STAKES) -> tuple[Row, ...]:
        """The rows, step by step; within one the largest capacity first. `stakes`: what spreading by quota goes by."""
        shared = spread(self._taken(), self._query.spread, stakes)
        rows = [(key, self._row(key, found, shared)) for key, found in self._sums.items() if key.fits]
        return tuple(row for _, row in sorted(rows, key=_order))

    def _row(self, key: _Key, found: _Sum, shared: Mapping[object, Shared]) -> Row:
        more = shared.get(key, Shared())
        amounts, money = found.tally.amounts, found.purse.money(more.cost)
        return Row(self._steps[key.step], key.names, key.owner, amounts, money, more.us)

    def _names(self, cell: Cell, priced: Priced) -> Mapping[By, str]:
        """The names by which a cell is grouped; its team's besides, which a filter may ask for."""
        return {**dict(zip(self._columns, cell.names, strict=True)), By.TEAM: priced.team.team or ""}

    def _key(self, cell: Cell, names: Mapping[By, str], state: str, fits: bool) -> _Key:
        step = bisect_right(self._starts, self._edges[cell.piece]) - 1
        found = tuple(state if key is By.STATE else names[key] for key in self._query.keys)
        return _Key(step, cell.kind, found, fits)

    def _by_state(self, cell: Cell) -> Iterator[tuple[str, Sequence[int | None]]]:
        """The amounts as rows want them: together, or each state that has time for itself."""
        asked = self._query.states
        if By.STATE not in self._query.keys:
            yield "", of_states(cell.amounts, asked)
            return
        for state, us in zip(State, cell.amounts, strict=False):
            if us and state in asked:
                yield state.value, of_states(cell.amounts, (state,))

    def _part(self, cell: Cell, key: _Key) -> _Sum:
        """Where the cell counts when the platform is spread; what is the hosts' neither gives nor takes."""
        if cell.kind is OwnerKind.HOST:
            return _Sum()
        return self._parts.setdefault((cell.place.cluster, cell.place.namespace, key), _Sum())

    def _taken(self) -> Iterator[Part]:
        for (cluster, namespace, key), found in self._parts.items():
            cost = found.purse.money().cost or 0  # what has no price is not spread
            yield Part((key.step, cluster), namespace, key, found.tally.amounts.capacity_us, cost)


def _order(found: tuple[_Key, Row]) -> tuple[int, int, str, tuple[str, ...]]:
    key, row = found
    return (key.step, -row.amounts.capacity_us, key.owner, key.names)
