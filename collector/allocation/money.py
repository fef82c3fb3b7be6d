"""What the rows of an answer cost: exact integers, as `collector.rates.cost` counts them, until they are printed."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gputally.accounting.states import State
from gputally.collector.allocation.columns import sum_of
from gputally.collector.rates.cost import CARBON_SCALE, SCALE, carbon, energy_cost, overhead_price, rounded, time_cost
from gputally.collector.rates.pricing import Rate

DIGITS = 6  # of a printed amount; a statement rounds to the currency's own
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


def total(parts: Iterable[Money]) -> Money:
    """The sum of rows."""
    rows = list(parts)
    if not rows:
        return NOTHING
    by_state, priced, unpriced, energy, overhead, shared, carbon, no_factor_mj = zip(*rows, strict=True)
    return Money(
        _by_state(by_state),
        _by_state(priced),
        _by_state(unpriced),
        sum_of(energy),
        sum_of(overhead),
        sum(shared),
        sum_of(carbon),
        sum(no_factor_mj),
    )


def _by_state(rows: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))


def column(costs: Sequence[int | None], shown: slice = _ALL) -> list[str | None]:
    """Costs as decimals that add up to their sum rounded once; what is unknown stays so. Only those `shown`."""
    return _column(costs, SCALE, shown)


def grams(carbons: Sequence[int | None], shown: slice = _ALL) -> list[str | None]:
    """The same of carbon, in grams of CO₂e."""
    return _column(carbons, CARBON_SCALE, shown)


def _column(amounts: Sequence[int | None], scale: int, shown: slice) -> list[str | None]:
    if not any(amounts):
        return [None if amount is None else _ZERO for amount in amounts[shown]]
    told = [amount is not None for amount in amounts]
    first, end, _ = shown.indices(len(told))
    before = sum(told[:first])
    of_known = slice(before, before + sum(told[first:end]))
    known = iter(rounded([amount for amount in amounts if amount is not None], DIGITS, scale, of_known))
    return [printed(next(known)) if is_known else None for is_known in told[first:end]]


def printed(units: int) -> str:
    """An amount of 10^-DIGITS as a decimal."""
    digits = f"{abs(units):0{DIGITS + 1}d}"
    return f"{'-' if units < 0 else ''}{digits[:-DIGITS]}.{digits[-DIGITS:]}"
