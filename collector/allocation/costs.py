"""What many rows cost, column by column: `money.Money` of each, and of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from operator import mul
from typing import Any, cast

from gputally.accounting.states import State
from gputally.collector.allocation.columns import Column, Groups, picked, sum_of
from gputally.collector.allocation.money import Money, Prices

_STATES = range(len(State))


@dataclass(frozen=True, slots=True)
class Costs:
    """The fields of `Money`, in its order, each a column; those by state are five."""

    by_state: Sequence[Column]
    priced: Sequence[Column]
    unpriced: Sequence[Column]
    energy: Column
    overhead: Column
    shared: Column
    carbon: Column
    no_factor_mj: Column

    @property
    def cost(self) -> Column:
        """Of each row what its time costs; None where it has time and none of it has a price."""
        whole = list(map(sum, zip(*self.by_state, strict=True)))
        return [cost if known else None for cost, known in zip(whole, self._known(), strict=True)]

    def of_state(self, at: int) -> Column:
        """Of each row what one state costs; None where it has time and none of it has a price, or none of the row's."""
        if not self._lacks_prices():
            return self.by_state[at]
        every = zip(self.by_state[at], self.priced[at], self.unpriced[at], self._known(), strict=True)
        return [cost or (0 if known and (priced or not rest) else None) for cost, priced, rest, known in every]

    @property
    def unpriced_us(self) -> Sequence[int]:
        """Of each row the time without a price."""
        return list(map(sum, zip(*self.unpriced, strict=True)))

    def picked(self, at: Sequence[int]) -> "Costs":
        """Those of some rows."""
        by_state, priced, unpriced = ([picked(column, at) for column in of] for of in self._by_state())
        return Costs(by_state, priced, unpriced, *(picked(column, at) for column in self._rest()))

    def total(self) -> Money:
        """Of all rows together."""
        by_state, priced, unpriced = (tuple(sum_of(column) or 0 for column in of) for of in self._by_state())
        energy, overhead, shared, carbon, no_factor_mj = map(sum_of, self._rest())
        return Money(by_state, priced, unpriced, energy, overhead, shared or 0, carbon, no_factor_mj or 0)

    def rows(self) -> Sequence[Money]:
        """Of each row."""
        apart = (zip(*of, strict=True) for of in self._by_state())
        return list(starmap(Money, zip(*apart, *self._rest(), strict=True)))

    def _by_state(self) -> tuple[Sequence[Column], ...]:
        return self.by_state, self.priced, self.unpriced

    def _rest(self) -> tuple[Column, ...]:
        return self.energy, self.overhead, self.shared, self.carbon, self.no_factor_mj

    def _lacks_prices(self) -> bool:
        return any(map(any, self.unpriced))

    def _known(self) -> Sequence[bool]:
        """Which rows have time with a price, or no time."""
        if not self._lacks_prices():
            return [True] * len(self.energy)
        every = zip(zip(*self.priced, strict=True), zip(*self.unpriced, strict=True), strict=True)
        return [any(priced) or not any(unpriced) for priced, unpriced in every]


def costs_of(moneys: Sequence[Money]) -> Costs:
    """The costs of some rows."""
    by_state, priced, unpriced, *rest = [list(column) for column in zip(*moneys, strict=True)] or _NO_ROWS
    return Costs(_columns(by_state), _columns(priced), _columns(unpriced), *cast("list[Column]", rest))


def _columns(rows: Sequence[Sequence[int]]) -> Sequence[Column]:
    return list(zip(*rows, strict=True)) or [()] * len(_STATES)


_NO_ROWS: Sequence[list[Sequence[int]]] = [[]] * len(Money._fields)


def spent(
    groups: Groups[Any],
    prices: Sequence[Prices],
    by_state_us: Sequence[Column],
    times_us: Sequence[Column],
    energy_mj: Column,
) -> Costs:
    """What groups of sums cost, each at prices of its own; nothing is shared yet.

    The time of a sum is always known, its energy may not be. `times_us` is that of the groups.
    """
    gpu_hour, energy, overhead, carbon = ([each[at] for each in prices] for at in range(len(Prices._fields)))
    paid = [price or 0 for price in gpu_hour]
    by_state = [groups.sums(list(map(mul, column, paid)) if any(column) else column) for column in by_state_us]
    return Costs(
        by_state,
        *_by_price(groups, gpu_hour, by_state_us, times_us),
        groups.sums(_times(energy_mj, energy)),
        groups.sums(_times(energy_mj, overhead)),
        [0] * len(groups),
        groups.sums(_times(energy_mj, carbon)),
        groups.sums([mj or 0 if factor is None else 0 for mj, factor in zip(energy_mj, carbon, strict=True)]),
    )


def _by_price(
    groups: Groups[Any], prices: Column, by_state_us: Sequence[Column], times_us: Sequence[Column]
) -> tuple[Sequence[Column], Sequence[Column]]:
    """The time of groups that has a price, and the time that has none."""
    if None not in prices:
        return times_us, [[0] * len(groups)] * len(times_us)
    has, lacks = [price is not None for price in prices], [price is None for price in prices]
    priced, unpriced = ([groups.sums(list(map(mul, column, of))) for column in by_state_us] for of in (has, lacks))
    return priced, unpriced


def _times(amounts: Column, prices: Column) -> Column:
    """Products; None where either is unknown."""
    try:
        return list(map(mul, amounts, prices))  # raises where something is unknown
    except TypeError:
        pairs = zip(amounts, prices, strict=True)
        return [None if amount is None or price is None else amount * price for amount, price in pairs]
