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
    """Costs in `rates.cost` units. `by_state` is of time that has a price, `priced` of it; `unpriced` is the rest.

    These three are by state.
    Energy and what the building draws on top of it stand apart; None is unknown: no price, or no measured energy.
    `shared` is what spreading adds (to the platform: takes away), and never part of the rest.
    """

    by_state: tuple[int, ...] = (0,) * _STATES
    priced: tuple[int, ...] = (0,) * _STATES
    unpriced: tuple[int, ...] = (0,) * _STATES
    energy: int | None = None
    overhead: int | None = None
    shared: int = 0

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


class Purse:
    """Adds up costs."""

    def __init__(self) -> None:
        self._by_state = [0] * _STATES
        self._priced = [0] * _STATES
        self._unpriced = [0] * _STATES
        self._energy: int | None = None
        self._overhead: int | None = None
        self._shared = 0

    def spend(self, rate: Rate, by_state_us: Sequence[int], energy_mj: int | None) -> None:
        """Add time, by state, and energy at their rates."""
        kwh = None if rate.kwh is None else rate.kwh.value
        pue = None if rate.pue is None else rate.pue.value
        self._energy = _plus(self._energy, energy_cost(energy_mj, kwh))
        self._overhead = _plus(self._overhead, energy_cost(energy_mj, overhead_price(kwh, pue)))
        times = self._unpriced if rate.price is None else self._priced
        for at, us in enumerate(by_state_us):
            times[at] += us
            self._by_state[at] += time_cost(us, rate.price) or 0

    def add(self, money: Money) -> None:
        """Add another row's."""
        self._by_state = _added(self._by_state, money.by_state)
        self._priced = _added(self._priced, money.priced)
        self._unpriced = _added(self._unpriced, money.unpriced)
        self._energy = _plus(self._energy, money.energy)
        self._overhead = _plus(self._overhead, money.overhead)
        self._shared += money.shared

    def money(self, shared: int = 0) -> Money:
        """What it comes to, and what spreading adds."""
        by_state, priced, unpriced = (tuple(sums) for sums in (self._by_state, self._priced, self._unpriced))
        return Money(by_state, priced, unpriced, self._energy, self._overhead, self._shared + shared)


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


def _added(sums: Sequence[int], more: Sequence[int]) -> list[int]:
    return [sum(pair) for pair in zip(sums, more, strict=True)]


def _plus(one: int | None, other: int | None) -> int | None:
    """The sum of what is known."""
    if one is None or other is None:
        return other if one is None else one
    return one + other
