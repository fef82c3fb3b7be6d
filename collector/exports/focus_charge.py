"""The charges of a line: each state's time, its energy, and what the building draws besides."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import State
from gputally.collector.rates.cost import SCALE
from gputally.collector.statement.block import Account, Block
from gputally.collector.statement.item import Meter
from gputally.collector.statement.rounding import DIGITS, HOUR, Rounding, round_known

_NAMES = tuple(state.value for state in State)
_STATES = len(_NAMES)
_MOST_NAMED = 1_000  # kinds of unpriced time that are told apart


class Charge(NamedTuple):
    """A row of FOCUS before it is written. `quantity` is microseconds or millijoules; prices are 10⁻⁹ of the currency.

    The energies are the line's, millijoules, on the row that bears them; None on others, and where one is unknown.
    """

    hour_us: int
    account: Account
    meter: Meter
    state: str
    quantity: int
    price: int
    list_price: int
    energy_idle_mj: int | None
    energy_dynamic_mj: int | None


@dataclass(slots=True)
class Skipped:
    """What has no price and is in no row: time by what it is, and energy that no row bears."""

    us: int = 0
    energy_idle_mj: int = 0
    energy_dynamic_mj: int = 0
    by_name: dict[str, int] = field(default_factory=dict)

    def add(self, account: Account, us: int) -> None:
        """Take the time of a line without a price; a correction's may come to 0."""
        self.us += us
        of = account.holding
        name = " ".join(filter(None, (of.cluster, of.model, of.profile)))
        if name in self.by_name or len(self.by_name) < _MOST_NAMED:
            self.by_name[name] = self.by_name.get(name, 0) + us

    def add_energy(self, idle_mj: int | None, dynamic_mj: int | None) -> None:
        """Take the energy of a line that has no row for it."""
        self.energy_idle_mj += idle_mj or 0
        self.energy_dynamic_mj += dynamic_mj or 0

    @property
    def hours(self) -> list[str]:
        """What has no price, for people."""
        return [f"{us / HOUR_US:.3f} GPU-hours of {name}" for name, us in sorted(self.by_name.items())]


def charges(block: Block, skipped: Skipped) -> list[Charge]:
    """The rows of some lines; what cannot be one goes to `skipped`. The first row of a line bears its energy."""
    found: list[Charge] = []
    lines = zip(block.hours, block.accounts, block.energies(), zip(*block.amounts, strict=True), strict=True)
    for hour_us, account, mj, amounts in lines:
        idle_mj, dynamic_mj = bears = (None, None) if mj is None else (amounts[-2], amounts[-1])
        *_, price, list_price, kwh_price, overhead, _ = account.terms
        if mj:
            for meter, of in ((_ENERGY, kwh_price), (_OVERHEAD, overhead)):
                if of is not None:
                    found.append(_made((hour_us, account, meter, "", mj, of, of, *bears)))
                    bears = _BEARS_NONE
        if price is None or list_price is None:
            _skip(account, amounts[:_STATES], skipped)
        else:
            for state, us in zip(_NAMES, amounts, strict=False):  # the states come first
                if us:
                    found.append(_made((hour_us, account, _GPU, state, us, price, list_price, *bears)))
                    bears = _BEARS_NONE
        if bears is not _BEARS_NONE:
            skipped.add_energy(idle_mj, dynamic_mj)
    return found


_made = Charge._make
_GPU, _ENERGY, _OVERHEAD = Meter.GPU, Meter.ENERGY, Meter.OVERHEAD
_BEARS_NONE = (None, None)


def _skip(account: Account, times: Sequence[int | None], skipped: Skipped) -> None:
    """Count the time of a line that has no price."""
    known = [us or 0 for us in times]
    if any(known):
        skipped.add(account, sum(known))


class Printed(NamedTuple):
    """The rounded figures of some charges, in units of 10⁻⁹: quantity, cost and both parts of the energy."""

    quantity: Sequence[int]
    cost: Sequence[int]
    energy_idle: Sequence[int | None]
    energy_dynamic: Sequence[int | None]


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

    def look(self, some: Sequence[Charge], asking: Sequence[Rounding]) -> None:
        """Show some charges to those that ask."""
        for meter, rounding in self._quantity.items():
            if rounding in asking:
                rounding.look([one.quantity for one in some if one.meter is meter])
        if self._cost in asking:
            self._cost.look([one.quantity * one.price for one in some])
        if self._idle in asking:
            self._idle.look([one.energy_idle_mj for one in some if one.energy_idle_mj is not None])
        if self._dynamic in asking:
            self._dynamic.look([one.energy_dynamic_mj for one in some if one.energy_dynamic_mj is not None])

    def printed(self, some: Sequence[Charge]) -> Printed:
        """The figures of the next charges."""
        of_meter = {
            meter: iter(rounding.round([one.quantity for one in some if one.meter is meter]))
            for meter, rounding in self._quantity.items()
        }
        return Printed(
            [next(of_meter[one.meter]) for one in some],
            self._cost.round([one.quantity * one.price for one in some]),
            round_known(self._idle, [one.energy_idle_mj for one in some]),
            round_known(self._dynamic, [one.energy_dynamic_mj for one in some]),
        )
