"""What the rows of an answer cost: exact integers, as `collector.rates.cost` counts them, until they are printed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gputally.accounting.states import State
from gputally.collector.rates.cost import energy_cost, overhead_price, rounded, time_cost
from gputally.collector.rates.pricing import Rate

DIGITS = 6  # of a printed amount; a statement rounds to the currency's own
_UNIT = 10**DIGITS
_STATES = len(State)


@dataclass(frozen=True, slots=True)
class Money:
    """Costs in `rates.cost` units. `by_state` and `priced_us` are of time that has a price, `unpriced_us` of the rest.

    Energy and what the building draws on top of it stand apart; None is unknown: no price, or no measured energy.
    `shared` is what spreading adds (to the platform: takes away), and never part of the rest.
    """

    by_state: tuple[int, ...] = (0,) * _STATES
    priced_us: int = 0
    unpriced_us: int = 0
    energy: int | None = None
    overhead: int | None = None
    shared: int = 0

    @property
    def cost(self) -> int | None:
        """The cost of the time that has a price; None where there is time and none of it has one."""
        return sum(self.by_state) if self.priced_us or not self.unpriced_us else None


NOTHING = Money()


class Purse:
    """Adds up costs."""

    def __init__(self) -> None:
        self._by_state = [0] * _STATES
        self._priced_us = 0
        self._unpriced_us = 0
        self._energy: int | None = None
        self._overhead: int | None = None
        self._shared = 0

    def spend(self, rate: Rate, by_state_us: Sequence[int], energy_mj: int | None) -> None:
        """Add time, by state, and energy at their rates."""
        kwh = None if rate.kwh is None else rate.kwh.value
        pue = None if rate.pue is None else rate.pue.value
        self._energy = _plus(self._energy, energy_cost(energy_mj, kwh))
        self._overhead = _plus(self._overhead, energy_cost(energy_mj, overhead_price(kwh, pue)))
        if rate.price is None:
            self._unpriced_us += sum(by_state_us)
            return
        self._priced_us += sum(by_state_us)
        for at, us in enumerate(by_state_us):
            self._by_state[at] += time_cost(us, rate.price) or 0

    def add(self, money: Money) -> None:
        """Add another row's."""
        self._by_state = [sum(pair) for pair in zip(self._by_state, money.by_state, strict=True)]
        self._priced_us += money.priced_us
        self._unpriced_us += money.unpriced_us
        self._energy = _plus(self._energy, money.energy)
        self._overhead = _plus(self._overhead, money.overhead)
        self._shared += money.shared

    def money(self, shared: int = 0) -> Money:
        """What it comes to, and what spreading adds."""
        states = tuple(self._by_state)
        return Money(states, self._priced_us, self._unpriced_us, self._energy, self._overhead, self._shared + shared)


def total(parts: Iterable[Money]) -> Money:
    """The sum of rows."""
    purse = Purse()
    for part in parts:
        purse.add(part)
    return purse.money()


def column(costs: Sequence[int | None]) -> list[str | None]:
    """Costs as decimals that add up to their sum rounded once; what is unknown stays so."""
    known = iter(rounded([cost for cost in costs if cost is not None], DIGITS))
    return [None if cost is None else printed(next(known)) for cost in costs]


def printed(units: int) -> str:
    """An amount of 10^-DIGITS as a decimal."""
    sign = "-" if units < 0 else ""
    return f"{sign}{abs(units) // _UNIT}.{abs(units) % _UNIT:0{DIGITS}d}"


def _plus(one: int | None, other: int | None) -> int | None:
    """The sum of what is known."""
    if one is None or other is None:
        return other if one is None else one
    return one + other
