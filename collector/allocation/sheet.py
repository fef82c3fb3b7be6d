"""Sums added up to the rows of an answer: priced, named by team, cut into states, the platform spread if asked.

All of it goes column by column: a fleet's answer is made of thousands of sums, a month's by day of tens of thousands.
"""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, TypeVar

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.amounts import Amounts, of_states
from gputally.collector.allocation.cells import amounts_of, place_of
from gputally.collector.allocation.columns import Column, Groups, picked, sum_of
from gputally.collector.allocation.costs import spent
from gputally.collector.allocation.grouping import READ, By
from gputally.collector.allocation.money import Prices, prices_of
from gputally.collector.allocation.query import Query, Spread
from gputally.collector.allocation.sources import LOW_BITS, SUMMED
from gputally.collector.allocation.spread import NO_STAKES, Part, Shared, Stakes, spread
from gputally.collector.allocation.summing import HEAD, SumRow
from gputally.collector.allocation.table import Table
from gputally.collector.rates.pricing import Key, Pricer, Rate

_Place: TypeAlias = tuple[int, str, tuple[str, ...], bool]  # as in `_Key`, which takes longer to make


class _Key(NamedTuple):
    step: int
    owner: str
    names: tuple[str, ...]
    fits: bool  # the filter; what does not fit matters only to what is spread


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums, each field a column: `names` by the query's keys, `values` what is SUMMED, or the time of states alone."""

    step: Sequence[int]
    owner: Sequence[str]
    fits: Sequence[bool]
    cluster: Sequence[str]
    namespace: Sequence[str]
    prices: Sequence[Prices]
    names: Sequence[Sequence[str]]
    values: Sequence[Column]

    def picked(self, at: Sequence[int]) -> "_Sums":
        """Some of them."""
        return _Sums(
            picked(self.step, at),
            picked(self.owner, at),
            picked(self.fits, at),
            picked(self.cluster, at),
            picked(self.namespace, at),
            picked(self.prices, at),
            [picked(column, at) for column in self.names],
            [picked(column, at) for column in self.values],
        )

    @property
    def energy_mj(self) -> Column:
        """Unknown where states were told apart."""
        return self.values[_ENERGY] if len(self.values) > _ENERGY else [None] * len(self.step)

    def keys(self) -> Iterator[_Place]:
        """The row that each belongs to."""
        names = zip(*self.names, strict=True) if self.names else [()] * len(self.step)
        return zip(self.step, self.owner, names, self.fits, strict=True)


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
        self._asks_teams = By.TEAM in query.keys or By.TEAM in query.where.keys
        self._rows: list[SumRow] = []

    def add(self, rows: Iterable[SumRow]) -> None:
        """Take sums."""
        self._rows += rows

    @property
    def whole(self) -> Amounts:
        """The sum of all that fits, also of what no state can claim for itself."""
        return _as_amounts(of_states(self._whole, self._query.states))

    @property
    def everything(self) -> Amounts:
        """The same in all states, whichever are asked for: what the capacity and its coverage are told from."""
        return _as_amounts(self._whole)

    @cached_property
    def _whole(self) -> Sequence[int | None]:
        sums = self._sums
        if not all(sums.fits):
            sums = sums.picked([at for at, fits in enumerate(sums.fits) if fits])
        return [sum_of(column) for column in sums.values] if sums.step else ()

    def table(self, stakes: Stakes = NO_STAKES) -> Table:
        """The rows, step by step; within one the largest capacity first. `stakes`: what spreading by quota goes by."""
        sums = self._shown()
        groups = Groups(sums.keys())
        times = [groups.sums(column) for column in sums.values[:_STATES]]
        order = _order(groups.keys, times)
        groups.put_in_order(order)
        times = [picked(column, order) for column in times]
        shared = self._shared(sums, groups, stakes)
        costs = spent(groups, sums.prices, sums.values[:_STATES], times, sums.energy_mj)
        costs = replace(costs, shared=[each.cost for each in shared])
        amounts = _columns([*times, *map(groups.sums, sums.values[_STATES:])], len(groups))
        step, owners, names, fits = zip(*groups.keys, strict=True) if groups.keys else ((), (), (), ())
        table = Table([self._steps[at] for at in step], names, owners, amounts, costs, [each.us for each in shared])
        return table if all(fits) else table.picked(range(fits.index(False)))

    @cached_property
    def _sums(self) -> _Sums:
        """All of them; without what does not fit, where that gives nothing to the rest."""
        width = len(HEAD) + len(self._columns) + len(SUMMED)
        columns = list(zip(*self._rows, strict=True)) or [()] * width
        head, names = columns[: len(HEAD)], columns[len(HEAD) : -len(SUMMED)]
        told = dict(zip(self._columns, names, strict=True))
        _, piece, cluster, _, _, namespace, owner, matches = head
        fits: Sequence[bool] = list(map(bool, matches))
        if self._asks_teams:
            told[By.TEAM] = self._teams(head)
            fits = self._fitting(fits, told[By.TEAM])
        of_keys = [told.get(key, owner) for key in self._query.keys]  # states are told apart later
        step = [self._step_of[at] for at in piece]
        found = _Sums(step, owner, fits, cluster, namespace, self._prices(head), of_keys, columns[-len(SUMMED) :])
        if self._query.spread is not Spread.NONE or all(fits):
            return found
        return found.picked([at for at, fit in enumerate(fits) if fit])

    def _fitting(self, fits: Sequence[bool], teams: Sequence[str]) -> Sequence[bool]:
        holds = {team: self._query.where.holds({By.TEAM: team}) for team in set(teams)}
        return [fit and holds[team] for fit, team in zip(fits, teams, strict=True)]

    def _prices(self, head: Sequence[Sequence[Any]]) -> Sequence[Prices]:
        """Of each sum; looked up once for all that have the same."""
        asked = list(zip(*head[: _WHOSE if self._pricer.asks_whose else _WHICH], strict=True))
        return _looked_up(asked, lambda about: prices_of(self._rate([*about, *_NOBODYS][:_WHOSE])))

    def _teams(self, head: Sequence[Sequence[Any]]) -> Sequence[str]:
        _, piece, cluster, _, _, namespace, owner, _ = head
        edges, team = self._edges, self._pricer.team

        def of(asked: tuple[int, str, str, str]) -> str:
            at, cluster, namespace, owner = asked
            return team(Key(cluster, "", "", "", namespace), edges[at]) or "" if owner == OwnerKind.POD else ""

        return _looked_up(list(zip(piece, cluster, namespace, owner, strict=True)), of)

    def _rate(self, about: SumRow) -> Rate:
        """Of the place and time that the beginning of a sum's row tells."""
        return self._pricer.rate(place_of(about, self._representatives), self._edges[about[1]])

    def _shown(self) -> _Sums:
        """The time of the states that are asked for; where each has rows of its own, that of each by itself."""
        sums, states = self._sums, self._query.states
        if By.STATE in self._query.keys:
            return self._by_state(sums)
        if len(states) == _STATES:
            return sums
        nothing = [0] * len(sums.step)
        times = zip(State, sums.values, strict=False)
        return replace(sums, values=[column if state in states else nothing for state, column in times])

    def _by_state(self, sums: _Sums) -> _Sums:
        asked = [at for at, state in enumerate(State) if state in self._query.states]
        times = zip(*sums.values[:_STATES], strict=True)
        each = [(row, at) for row, by_state in enumerate(times) for at in asked if by_state[at]]
        found, states = sums.picked([row for row, _ in each]), [at for _, at in each]
        values = [[us if at == state else 0 for us, state in zip(found.values[at], states, strict=True)] for at in _ALL]
        texts = [_TEXTS[state] for state in states]
        names = [texts if key is By.STATE else of for key, of in zip(self._query.keys, found.names, strict=True)]
        return replace(found, names=names, values=values)

    def _shared(self, sums: _Sums, groups: Groups[_Place], stakes: Stakes) -> Sequence[Shared]:
        """What each group is given by its cluster's platform."""
        if self._query.spread is Spread.NONE:
            return [_NOT_SHARED] * len(groups)
        keys = [_Key(*key) for key in groups.keys]
        found = spread(_parts(sums, groups, keys), self._query.spread, stakes)
        return [found.get(key, _NOT_SHARED) for key in keys]


_ALL = range(len(State))
_STATES = len(State)
_TEXTS = [state.value for state in State]
_ENERGY, _MEMORY = SUMMED.index("energy_mj"), SUMMED.index("memory_high")
_WHICH, _WHOSE = 5, 7  # columns of HEAD that prices depend on: without, and with, those that say whose it is
_NOBODYS = ("", OwnerKind.PLATFORM.value)
_NOT_SHARED = Shared()

_Asked = TypeVar("_Asked", bound=Hashable)
_Found = TypeVar("_Found")


def _looked_up(asked: Sequence[_Asked], look_up: Callable[[_Asked], _Found]) -> Sequence[_Found]:
    """Each once, however often it is asked for."""
    found = {each: look_up(each) for each in set(asked)}
    return [found[each] for each in asked]


def _order(keys: Sequence[_Place], by_state_us: Sequence[Column]) -> Sequence[int]:
    """The places of rows in the order of an answer, behind them those of what does not fit."""
    every = zip(keys, map(sum, zip(*by_state_us, strict=True)), strict=True)
    order = [(not fits, step, -us, owner, names) for (step, owner, names, fits), us in every]
    return sorted(range(len(keys)), key=order.__getitem__)


def _parts(sums: _Sums, groups: Groups[_Place], keys: Sequence[_Key]) -> Iterator[Part]:
    """What each row had in each cluster and namespace; what is the hosts' neither gives nor takes."""
    kept = [at for at, owner in enumerate(sums.owner) if owner != OwnerKind.HOST]
    rows, mine = picked(groups.of, kept), sums.picked(kept)
    owned = zip(mine.namespace, mine.owner, strict=True)
    takers = [namespace if owner == OwnerKind.POD else None for namespace, owner in owned]
    apart = Groups(zip(mine.cluster, takers, rows, strict=True))
    times = [apart.sums(column) for column in mine.values[:_STATES]]
    costs = spent(apart, mine.prices, mine.values[:_STATES], times, mine.energy_mj)
    every = zip(apart.keys, map(sum, zip(*times, strict=True)), costs.cost, strict=True)
    for (cluster, namespace, row), us, cost in every:
        yield Part((keys[row].step, cluster), namespace, keys[row], us, cost or 0)  # without a price nothing is spread


def _columns(sums: Sequence[Column], count: int) -> Sequence[Column]:
    """Sums of `count` rows as columns of amounts; where states were told apart they are of time alone."""
    if len(sums) < len(SUMMED):
        unknown = Amounts._field_defaults
        return [*sums, *([unknown[name]] * count for name in Amounts._fields[len(sums) :])]
    *found, low = sums
    pairs = zip(found[_MEMORY], low, strict=True)
    found[_MEMORY] = [None if high is None or rest is None else (high << LOW_BITS) + rest for high, rest in pairs]
    return found


def _as_amounts(values: Sequence[int | None]) -> Amounts:
    known = amounts_of(values) if len(values) == len(SUMMED) else values
    return Amounts(*known)  # type: ignore[arg-type]  # what is never unknown is never given as such
