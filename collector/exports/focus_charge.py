"""The charges of a line: each state's time, its energy, and what the building draws besides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import State
from gputally.collector.rates.cost import SCALE
from gputally.collector.statement.item import Meter
from gputally.collector.statement.line import Line
from gputally.collector.statement.rounding import DIGITS, HOUR, Rounding

_MOST_NAMED = 1_000  # kinds of unpriced time that are told apart


class Charge(NamedTuple):
    """A row of FOCUS before it is written. `quantity` is microseconds or millijoules; prices are 10⁻⁹ of the currency.

    `bears_energy`: the line's energy stands on this row.
    """

    line: Line
    meter: Meter
    state: str
    quantity: int
    price: int
    list_price: int
    bears_energy: bool

    @property
    def cost(self) -> int:
        """Exact, as `rates.cost` counts."""
        return self.quantity * self.price


@dataclass(slots=True)
class Skipped:
    """What has no price and is in no row: time by what it is, and energy that no row bears."""

    us: int = 0
    energy_idle_mj: int = 0
    energy_dynamic_mj: int = 0
    by_name: dict[str, int] = field(default_factory=dict)

    def add(self, line: Line) -> None:
        """Take the time of a line without a price."""
        if not any(line.amounts.states):
            return
        us = line.amounts.capacity_us
        self.us += us
        name = " ".join(filter(None, (line.holding.cluster, line.holding.model, line.holding.profile)))
        if name in self.by_name or len(self.by_name) < _MOST_NAMED:
            self.by_name[name] = self.by_name.get(name, 0) + us

    def add_energy(self, line: Line) -> None:
        """Take the energy of a line that has no row for it."""
        self.energy_idle_mj += line.amounts.energy_idle_mj or 0
        self.energy_dynamic_mj += line.amounts.energy_dynamic_mj or 0

    @property
    def hours(self) -> list[str]:
        """What has no price, for people."""
        return [f"{us / HOUR_US:.3f} GPU-hours of {name}" for name, us in sorted(self.by_name.items())]


def charges(line: Line, skipped: Skipped) -> Sequence[Charge]:
    """The rows of a line; what cannot be one goes to `skipped`."""
    found = [*_energy(line), *_time(line, skipped)]
    if line.amounts.energy_mj is not None:
        if found:
            found[0] = found[0]._replace(bears_energy=True)
        else:
            skipped.add_energy(line)
    return found


def _energy(line: Line) -> Iterator[Charge]:
    mj, terms = line.amounts.energy_mj, line.terms
    for meter, price in ((Meter.ENERGY, terms.kwh_price), (Meter.OVERHEAD, terms.overhead_price)):
        if mj and price is not None:
            yield Charge(line, meter, "", mj, price, price, bears_energy=False)


def _time(line: Line, skipped: Skipped) -> Iterator[Charge]:
    price, list_price = line.terms.price, line.terms.list_price
    if price is None or list_price is None:
        skipped.add(line)
        return
    for state, us in zip(State, line.amounts.states, strict=True):
        if us:
            yield Charge(line, Meter.GPU, state.value, us, price, list_price, bears_energy=False)


class Printed(NamedTuple):
    """The rounded figures of a charge: quantity, cost and both parts of the energy in units of 10⁻⁹."""

    quantity: int
    cost: int
    energy_idle: int | None
    energy_dynamic: int | None


class Figures:
    """Rounds the figures of all charges over the whole file."""

    def __init__(self) -> None:
        self._quantity = {meter: Rounding(HOUR, DIGITS) for meter in Meter}
        self._cost = Rounding(SCALE, DIGITS)
        self._idle, self._dynamic = Rounding(HOUR, DIGITS), Rounding(HOUR, DIGITS)

    @property
    def roundings(self) -> list[Rounding]:
        """What has to be shown all charges."""
        return [*self._quantity.values(), self._cost, self._idle, self._dynamic]

    def look(self, charge: Charge, asking: Sequence[Rounding]) -> None:
        """Show a charge to those that ask."""
        for rounding, value in self._values(charge):
            if value is not None and rounding in asking:
                rounding.look(value)

    def printed(self, charge: Charge) -> Printed:
        """The figures of the next charge."""
        found = [None if value is None else rounding.round(value) for rounding, value in self._values(charge)]
        return Printed(*found)  # type: ignore[arg-type]  # what is never unknown comes first

    def _values(self, charge: Charge) -> Iterator[tuple[Rounding, int | None]]:
        amounts = charge.line.amounts
        yield self._quantity[charge.meter], charge.quantity
        yield self._cost, charge.cost
        yield self._idle, amounts.energy_idle_mj if charge.bears_energy else None
        yield self._dynamic, amounts.energy_dynamic_mj if charge.bears_energy else None
