"""What the rows of an answer cost: exact integers, as `collector.rates.cost` counts them, until they are printed."""

from collections.abc import Iterable, Iterator, Sequence
from operator import add
from typing import NamedTuple

from gputally.accounting.states import State
from gputally.collector.rates.cost import CARBON_SCALE, SCALE, carbon, energy_cost, overhead_price, rounded, time_cost
from gputally.collector.rates.pricing import Rate

DIGITS = 6  # of a printed amount; a statement rounds to the currency's own
_UNIT = 10**DIGITS
_STATES = len(State)
_ZERO = f"0.{0:0{DIGITS}d}"
_ALL = slice(None)


class Money(NamedTuple):
    """Costs in `rates.cost` units. `by_state` is of time that has a price, `priced` of it; `unpriced` is the rest.

    These three are by state.
    Energy and what the building draws on top of it stand apart; None is unknown: no price, or no measured energy.
    `shared` is what spreading adds (to the platform: takes away), and never part of the rest.
    `carbon` is CO₂e as `rates.cost` counts it, of the energy that has a factor; `no_factor_mj` is the energy without.
    """

    by_state: tuple[int, ...] = (0,) * _STATES
    priced: tuple[int, ...] = (0,) * _STATES
    unpriced: tuple[int, ...] = (0,) * _STATES
    energy: int | None = None
    overhead: int | None = None
    shared: int = 0
    carbon: int | None = None
    no_factor_mj: int = 0

    @property
    def priced_us(self) -> int:
        """The time that has a price."""
        return sum(self.priced)

    @property
    def unpriced_us(self) -> int:
        """The time that has none."""
        return sum(self.unpriced)

    def of_state(self, at: int) -> int | None:
        """The cost of one state, by its place among them; None where it has time and none of it has a price."""
        return self.by_state[at] if self.priced[at] or not self.unpriced[at] else None

    @property
    def cost(self) -> int | None:
        """The cost of the time that has a price; None where there is time and none of it has one."""
        return sum(self.by_state) if self.priced_us or not self.unpriced_us else None


NOTHING = Money()


_NO_TIME = (0,) * _STATES


class Prices(NamedTuple):
    """What a microsecond and a millijoule come to, in `rates.cost` units; None: there is no price, or no factor."""

    gpu_hour: int | None
    energy: int | None
    overhead: int | None
    carbon: int | None


def prices_of(rate: Rate) -> Prices:
    """The prices of a rate."""
    kwh = None if rate.kwh is None else rate.kwh.value
    pue = None if rate.pue is None else rate.pue.value
    factor = None if rate.carbon is None else rate.carbon.value
    overhead = energy_cost(1, overhead_price(kwh, pue))
    return Prices(time_cost(1, rate.price), energy_cost(1, kwh), overhead, carbon(1, factor, pue))


class Purse:
    """Adds up costs."""

    def __init__(self) -> None:
        self._by_state: Sequence[int] = _NO_TIME
        self._priced: Sequence[int] = _NO_TIME
        self._unpriced: Sequence[int] = _NO_TIME
        self._energy: int | None = None
        self._overhead: int | None = None
        self._shared = 0
        self._carbon: int | None = None
        self._no_factor_mj = 0

    def spend(self, prices: Prices, by_state_us: Sequence[int], energy_mj: int | None) -> None:
        """Add time, by state, and energy at their prices."""
        price = prices.gpu_hour
        if price is None:
            self._unpriced = _added(self._unpriced, by_state_us)
        else:
            self._priced = _added(self._priced, by_state_us)
            self._by_state = _added(self._by_state, [us * price for us in by_state_us])
        if energy_mj is not None:
            self._spend_energy(prices, energy_mj)

    def _spend_energy(self, prices: Prices, energy_mj: int) -> None:
        if prices.energy is not None:
            self._energy = (self._energy or 0) + energy_mj * prices.energy
        if prices.overhead is not None:
            self._overhead = (self._overhead or 0) + energy_mj * prices.overhead
        if prices.carbon is not None:
            self._carbon = (self._carbon or 0) + energy_mj * prices.carbon
        else:
            self._no_factor_mj += energy_mj

    def add(self, money: Money) -> None:
        """Add another row's."""
        self._by_state = _added(self._by_state, money.by_state)
        self._priced = _added(self._priced, money.priced)
        self._unpriced = _added(self._unpriced, money.unpriced)
        self._energy = _plus(self._energy, money.energy)
        self._overhead = _plus(self._overhead, money.overhead)
        self._shared += money.shared
        self._carbon = _plus(self._carbon, money.carbon)
        self._no_factor_mj += money.no_factor_mj

    def money(self, shared: int = 0) -> Money:
        """What it comes to, and what spreading adds."""
        by_state, priced, unpriced = (tuple(sums) for sums in (self._by_state, self._priced, self._unpriced))
        return Money(
            by_state,
            priced,
            unpriced,
            self._energy,
            self._overhead,
            self._shared + shared,
            self._carbon,
            self._no_factor_mj,
        )


def total(parts: Iterable[Money]) -> Money:
    """The sum of rows."""
    purse = Purse()
    for part in parts:
        purse.add(part)
    return purse.money()


def column(costs: Sequence[int | None], shown: slice = _ALL) -> list[str | None]:
    """Costs as decimals that add up to their sum rounded once; what is unknown stays so. Only those `shown`."""
    return _column(costs, SCALE, shown)


def grams(carbons: Sequence[int | None], shown: slice = _ALL) -> list[str | None]:
    """The same of carbon, in grams of CO₂e."""
    return _column(carbons, CARBON_SCALE, shown)


def _column(amounts: Sequence[int | None], scale: int, shown: slice) -> list[str | None]:
    if not any(amounts):
        return [None if amount is None else _ZERO for amount in amounts[shown]]
    known = iter(rounded([amount for amount in amounts if amount is not None], DIGITS, scale))
    return [None if units is None else printed(units) for units in _replaced(amounts, known)[shown]]


def _replaced(amounts: Sequence[int | None], known: Iterator[int]) -> list[int | None]:
    """The same with others in the place of what is known."""
    return [None if amount is None else next(known) for amount in amounts]


def printed(units: int) -> str:
    """An amount of 10^-DIGITS as a decimal."""
    if units < 0:
        return f"-{printed(-units)}"
    whole, rest = divmod(units, _UNIT)
    return f"{whole}.{rest:0{DIGITS}d}" if units else _ZERO


def _added(sums: Sequence[int], more: Sequence[int]) -> Sequence[int]:
    return more if sums is _NO_TIME else list(map(add, sums, more))


def _plus(one: int | None, other: int | None) -> int | None:
    """The sum of what is known."""
    if one is None or other is None:
        return other if one is None else one
    return one + other
