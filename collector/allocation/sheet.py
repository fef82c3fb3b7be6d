"""Cells added up to the rows of an answer: priced, named by team, cut into states, the platform spread if asked."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.amounts import Amounts, Tally, energy_of, of_states
from gputally.collector.allocation.cells import Cell
from gputally.collector.allocation.grouping import READ, By
from gputally.collector.allocation.money import Money, Purse
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Spread
from gputally.collector.allocation.spread import NO_STAKES, Part, Shared, Stakes, spread
from gputally.collector.rates.pricing import Pricer, Rate


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


class _Sum:
    """What a row comes to: amounts by the rate that they have, which is one object for each."""

    __slots__ = ("_tallies",)

    def __init__(self) -> None:
        self._tallies: dict[int, tuple[Rate, Tally]] = {}

    def add(self, values: Sequence[int | None], rate: Rate) -> None:
        found = self._tallies.get(id(rate))
        if found is None:
            found = self._tallies[id(rate)] = rate, Tally()
        found[1].add(values)

    def total(self) -> tuple[Amounts, Purse]:
        """The amounts, and what they cost."""
        whole, purse = Tally(), Purse()
        for rate, tally in self._tallies.values():
            values = tally.values
            whole.add(values)
            purse.spend(rate, [us or 0 for us in values[:_STATES]], energy_of(values))
        return whole.amounts, purse


class Sheet:
    """Takes a query's cells, gives its rows."""

    def __init__(self, query: Query, pricer: Pricer, edges: Sequence[int]) -> None:
        """`edges` is where the cells' pieces begin. Raises QueryError where steps are too many."""
        self._query = query
        self._pricer = pricer
        self._steps = query.steps()
        self._edges = edges
        starts = [step.start_us for step in self._steps]
        self._step_of = [bisect_right(starts, us) - 1 for us in edges]
        self._columns = tuple(key for key in query.keys if key in READ)
        self._by_state = By.STATE in query.keys
        self._all_states = self._by_state or len(query.states) == _STATES
        self._looks_up = not {*query.keys, *query.where.keys} <= READ
        self._sums: defaultdict[_Key, _Sum] = defaultdict(_Sum)
        self._parts: defaultdict[tuple[str, str | None, _Key], _Sum] = defaultdict(_Sum)
        self._everything = Tally()

    @property
    def whole(self) -> Amounts:
        """The sum of all that fits, also of what no state can claim for itself."""
        return Amounts(*of_states(self._everything.values, self._query.states))  # type: ignore[arg-type]  # as in Tally

    @property
    def everything(self) -> Amounts:
        """The same in all states, whichever are asked for: what the capacity and its coverage are told from."""
        return self._everything.amounts

    def add(self, cell: Cell) -> None:
        """Add a cell to its row, or to its rows by state."""
        at_us, fits, names = self._edges[cell.piece], cell.matches, cell.names
        rate = self._pricer.rate(cell.place, at_us)
        told = self._told(cell, at_us) if self._looks_up else {}
        fits = fits and (not told or self._query.where.holds(told))
        if not fits and self._query.spread is Spread.NONE:
            return
        if fits:
            self._everything.add(cell.amounts)
        for state, values in self._states_of(cell.amounts) if self._by_state else ((_ALL, cell.amounts),):
            if told:
                names = tuple(state if key is By.STATE else told[key] for key in self._query.keys)
            if not self._all_states:
                values = of_states(values, self._query.states)
            key = _Key(self._step_of[cell.piece], cell.kind, names, fits)
            self._sums[key].add(values, rate)
            if self._query.spread is not Spread.NONE and cell.kind is not OwnerKind.HOST:
                # What is the hosts' neither gives nor takes.
                self._parts[cell.place.cluster, cell.place.namespace, key].add(values, rate)

    def rows(self, stakes: Stakes = NO_STAKES) -> tuple[Row, ...]:
        """The rows, step by step; within one the largest capacity first. `stakes`: what spreading by quota goes by."""
        shared = spread(self._taken(), self._query.spread, stakes)
        rows = [(key, self._row(key, found, shared)) for key, found in self._sums.items() if key.fits]
        return tuple(row for _, row in sorted(rows, key=_order))

    def _row(self, key: _Key, found: _Sum, shared: Mapping[object, Shared]) -> Row:
        more = shared.get(key, _NOT_SHARED)
        amounts, purse = found.total()
        return Row(self._steps[key.step], key.names, key.owner, amounts, purse.money(more.cost), more.us)

    def _told(self, cell: Cell, at_us: int) -> Mapping[By, str]:
        """The names by which a cell is grouped; its team's besides, which a filter may ask for."""
        return {
            **dict(zip(self._columns, cell.names, strict=True)),
            By.TEAM: self._pricer.team(cell.place, at_us) or "",
        }

    def _states_of(self, amounts: Sequence[int | None]) -> Iterator[tuple[str, Sequence[int | None]]]:
        """Each state that has time and is asked for, with its time alone."""
        for state, us in zip(State, amounts, strict=False):
            if us and state in self._query.states:
                yield state.value, of_states(amounts, (state,))

    def _taken(self) -> Iterator[Part]:
        for (cluster, namespace, key), found in self._parts.items():
            amounts, purse = found.total()
            cost = purse.money().cost or 0  # what has no price is not spread
            yield Part((key.step, cluster), namespace, key, amounts.capacity_us, cost)


_ALL = ""  # in the place of a state: the row is of all of them
_STATES = len(State)
_NOT_SHARED = Shared()


def _order(found: tuple[_Key, Row]) -> tuple[int, int, str, tuple[str, ...]]:
    key, row = found
    return (key.step, -row.amounts.capacity_us, key.owner, key.names)
