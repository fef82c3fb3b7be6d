"""Sums added up to the rows of an answer: priced, named by team, cut into states, the platform spread if asked."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.amounts import PRICED, Amounts, Values, added_up, energy_of, of_states
from gputally.collector.allocation.cells import HEAD, SumRow, amounts_of, place_of
from gputally.collector.allocation.grouping import READ, By
from gputally.collector.allocation.money import Money, Prices, Purse, prices_of
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Spread
from gputally.collector.allocation.sources import SUMMED
from gputally.collector.allocation.spread import NO_STAKES, Part, Shared, Stakes, spread
from gputally.collector.rates.pricing import Pricer


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
    """What a row comes to: amounts by the prices that they have."""

    __slots__ = ("_by_prices",)

    def __init__(self) -> None:
        self._by_prices: dict[Prices, list[Values]] = {}

    def add(self, values: Values, prices: Prices) -> None:
        found = self._by_prices.get(prices)
        if found is None:
            self._by_prices[prices] = [values]
        else:
            found.append(values)

    def total(self) -> tuple[Values, Purse]:
        """The amounts, and what they cost."""
        purse, every = Purse(), []
        for prices, rows in self._by_prices.items():
            every += rows
            values = rows[0] if len(rows) == 1 else added_up([row[:PRICED] for row in rows])
            purse.spend(prices, values[:_STATES], energy_of(values))  # type: ignore[arg-type]  # time is always known
        return every[0] if len(every) == 1 else added_up(every), purse


class Sheet:
    """Takes a query's sums, gives its rows."""

    def __init__(self, query: Query, pricer: Pricer, edges: Sequence[int], representatives: Sequence[str]) -> None:
        """`edges` is where the pieces of the sums begin, `representatives` are names of nodes by the number of their
        class. Raises QueryError where steps are too many.
        """
        self._query = query
        self._pricer = pricer
        self._steps = query.steps()
        self._edges = edges
        self._representatives = representatives
        starts = [step.start_us for step in self._steps]
        self._step_of = [bisect_right(starts, us) - 1 for us in edges]
        self._columns = tuple(key for key in query.keys if key in READ)
        self._by_state = By.STATE in query.keys
        self._all_states = self._by_state or len(query.states) == _STATES
        self._filters = not query.where.keys <= READ
        self._looks_up = self._filters or not {*query.keys} <= READ
        self._names = slice(len(HEAD), len(HEAD) + len(self._columns))
        places = {key: at for at, key in enumerate(self._columns, len(HEAD))}
        self._places = [places.get(key) for key in query.keys]  # None: it is the team
        self._asked = slice(_WHOSE if pricer.asks_whose else _WHICH)
        self._prices: dict[SumRow, Prices] = {}
        self._teams: dict[SumRow, str] = {}
        self._sums: defaultdict[_Key, _Sum] = defaultdict(_Sum)
        self._parts: defaultdict[tuple[str, str | None, _Key], _Sum] = defaultdict(_Sum)
        self._everything: list[Values] = []

    @property
    def whole(self) -> Amounts:
        """The sum of all that fits, also of what no state can claim for itself."""
        return as_amounts(of_states(self._whole(), self._query.states))

    @property
    def everything(self) -> Amounts:
        """The same in all states, whichever are asked for: what the capacity and its coverage are told from."""
        return as_amounts(self._whole())

    def _whole(self) -> Values:
        if len(self._everything) > 1:
            self._everything = [added_up(self._everything)]
        return self._everything[0] if self._everything else ()

    def add(self, rows: Iterable[SumRow]) -> None:
        """Add each sum to its row, or to its rows by state."""
        if self._by_state or not self._all_states or self._query.spread is not Spread.NONE or self._filters:
            for row in rows:
                self._add(row)
            return
        for row in rows:  # each fits, and is of one row: nearly all questions are so
            values = row[self._names.stop :]
            key = _Key(self._step_of[row[1]], row[6], self._names_of(row), True)
            self._everything.append(values)
            self._sums[key].add(values, self._prices_of(row))

    def _names_of(self, row: SumRow) -> tuple[str, ...]:
        if not self._looks_up:
            return tuple(row[self._names])
        return tuple([self._team(row) if at is None else row[at] for at in self._places])

    def _add(self, row: SumRow) -> None:
        query, told, values = self._query, {}, row[self._names.stop :]
        names = tuple(row[self._names])
        prices, fits = self._prices_of(row), bool(row[7])
        if self._looks_up:
            told = {**dict(zip(self._columns, names, strict=True)), By.TEAM: self._team(row)}
            fits = fits and query.where.holds(told)
        if not fits and query.spread is Spread.NONE:
            return
        if fits:
            self._everything.append(values)
        for state, of_state in self._states_of(values) if self._by_state else ((_ALL, values),):
            if told:
                names = tuple(state if key is By.STATE else told[key] for key in query.keys)
            shown = of_state if self._all_states else of_states(of_state, query.states)
            self._put(row, _Key(self._step_of[row[1]], row[6], names, fits), shown, prices)

    def _put(self, row: SumRow, key: _Key, values: Values, prices: Prices) -> None:
        self._sums[key].add(values, prices)
        if self._query.spread is not Spread.NONE and key.owner != OwnerKind.HOST:
            # What is the hosts' neither gives nor takes.
            self._parts[row[2], row[5] if key.owner == OwnerKind.POD else None, key].add(values, prices)

    def _prices_of(self, row: SumRow) -> Prices:
        found = self._prices.get(row[self._asked])
        if found is None:
            rate = self._pricer.rate(place_of(row, self._representatives), self._edges[row[1]])
            found = self._prices[row[self._asked]] = prices_of(rate)
        return found

    def _team(self, row: SumRow) -> str:
        asked = (row[1], row[2], row[5], row[6])
        found = self._teams.get(asked)
        if found is None:
            place = place_of(row, self._representatives)
            found = self._teams[asked] = self._pricer.team(place, self._edges[row[1]]) or ""
        return found

    def rows(self, stakes: Stakes = NO_STAKES) -> tuple[Row, ...]:
        """The rows, step by step; within one the largest capacity first. `stakes`: what spreading by quota goes by."""
        shared = spread(self._taken(), self._query.spread, stakes)
        rows = [(key, self._row(key, found, shared)) for key, found in self._sums.items() if key.fits]
        return tuple(row for _, row in sorted(rows, key=_order))

    def _row(self, key: _Key, found: _Sum, shared: Mapping[object, Shared]) -> Row:
        more = shared.get(key, _NOT_SHARED)
        amounts, purse = found.total()
        return Row(self._steps[key.step], key.names, key.owner, as_amounts(amounts), purse.money(more.cost), more.us)

    def _states_of(self, amounts: Values) -> Iterator[tuple[str, Values]]:
        """Each state that has time and is asked for, with its time alone."""
        for state, us in zip(State, amounts, strict=False):
            if us and state in self._query.states:
                yield state.value, of_states(amounts, (state,))

    def _taken(self) -> Iterator[Part]:
        for (cluster, namespace, key), found in self._parts.items():
            amounts, purse = found.total()
            cost = purse.money().cost or 0  # what has no price is not spread
            yield Part((key.step, cluster), namespace, key, sum(us or 0 for us in amounts[:_STATES]), cost)


def as_amounts(values: Values) -> Amounts:
    """Sums as amounts; where states were told apart they are of time alone."""
    known = amounts_of(values) if len(values) == len(SUMMED) else values
    return Amounts(*known)  # type: ignore[arg-type]  # what is never unknown is never given as such


_ALL = ""  # in the place of a state: the row is of all of them
_WHICH, _WHOSE = 5, 7  # columns of HEAD that prices depend on: without, and with, those that say whose it is
_STATES = len(State)
_NOT_SHARED = Shared()


def _order(found: tuple[_Key, Row]) -> tuple[int, int, str, tuple[str, ...]]:
    key, row = found
    return (key.step, -row.amounts.capacity_us, key.owner, key.names)
