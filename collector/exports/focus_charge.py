"""The charges of lines: each state's time, its energy, and what the building draws besides; in columns."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress, repeat
from operator import attrgetter, mul
from typing import NamedTuple, TypeAlias

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import State
from gputally.collector.rates.cost import SCALE
from gputally.collector.statement.block import Account, Block
from gputally.collector.statement.item import Meter
from gputally.collector.statement.rounding import DIGITS, HOUR, Rounding, look_known, round_known

METERS = tuple(Meter)
_ONLY = [bytes(place == meter for place in range(256)) for meter in range(len(METERS))]  # which are of a meter
_GPU, _ENERGY, _OVERHEAD = map(METERS.index, (Meter.GPU, Meter.ENERGY, Meter.OVERHEAD))
_NAMES = tuple(state.value for state in State)
_STATES = len(_NAMES)
_MOST_NAMED = 1_000  # kinds of unpriced time that are told apart
_MOST_ACCOUNTS = 20_000  # whose sorts are remembered; some 20 MB


@dataclass(slots=True, eq=False)  # frozen ones take three times as long to make, of which there are many
class Sort:
    """What charges have in common; the same object for the same, for as long as it is remembered. It is not changed.

    `meter` is its place in METERS, `state` is empty but for time, prices are 10⁻⁹ of the currency. `corrects`: it is of
    a month before.
    """

    account: Account
    meter: int
    state: str
    price: int
    list_price: int
    corrects: bool


_METER, _PRICE = attrgetter("meter"), attrgetter("price")
_Sorts: TypeAlias = Sequence[Sort | None]  # of an account's energy, its overhead and each state; None: it has no price


class Row(NamedTuple):
    """One charge, with the columns' fields."""

    hour_us: int
    sort: Sort
    quantity: int
    energy_idle_mj: int | None
    energy_dynamic_mj: int | None


class Charges(NamedTuple):
    """Rows of FOCUS before they are written, by columns. Quantities are microseconds or millijoules.

    The energies are a line's, millijoules, on the row that bears them; None on others, and where one is unknown.
    """

    hours: Sequence[int]
    sorts: Sequence[Sort]
    quantities: Sequence[int]
    energy_idle_mj: Sequence[int | None]
    energy_dynamic_mj: Sequence[int | None]

    def rows(self) -> Iterator[Row]:
        """One by one."""
        return map(Row._make, zip(*self, strict=True))

    def by_meter(self, values: Sequence[int]) -> list[list[int]]:
        """A value of each, apart for each meter."""
        meters = bytes(map(_METER, self.sorts))
        return [list(compress(values, meters.translate(only))) for only in _ONLY]

    def costs(self) -> list[int]:
        """What each costs, as `rates.cost` counts."""
        return list(map(mul, self.quantities, map(_PRICE, self.sorts)))


def of_rows(rows: Sequence[Row]) -> Charges:
    """Rows that stand one by one."""
    return Charges(*zip(*rows, strict=True))


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


class Charger:
    """Makes charges of lines; hours before `start_us` are of a month before."""

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self._known: tuple[dict[Account, _Sorts], dict[Account, _Sorts]] = ({}, {})

    def charges(self, block: Block, skipped: Skipped) -> Charges:
        """The rows of some lines; what cannot be one goes to `skipped`. The first row of a line bears its energy."""
        of_lines = self._sorts(block)
        sorts = list(chain.from_iterable(of_lines))
        energies = [mj or 0 for mj in block.energies()]
        lines = list(zip(energies, energies, *block.amounts[:_STATES], strict=True))
        if None in sorts:
            _skip_unpriced(block, of_lines, skipped)
            lines = [tuple(map(_priced, line, of)) for line, of in zip(lines, of_lines, strict=True)]
        amounts = list(chain.from_iterable(lines))
        rows = [len(line) - line.count(0) for line in lines]
        return Charges(
            list(chain.from_iterable(map(repeat, block.hours, rows))),
            list(compress(sorts, amounts)),  # type: ignore[arg-type]  # what has no sort is 0 by now
            list(filter(None, amounts)),
            *_borne(rows, block, skipped),
        )

    def _sorts(self, block: Block) -> list[_Sorts]:
        """Of each line; corrections come before all others."""
        late = bisect_left(block.hours, True, key=self._start_us.__le__)
        own = self._remembered(block.accounts[late:], corrects=False)
        return self._remembered(block.accounts[:late], corrects=True) + own

    def _remembered(self, accounts: Sequence[Account], *, corrects: bool) -> list[_Sorts]:
        known = self._known[corrects]
        if len(known) > _MOST_ACCOUNTS:
            known.clear()
        for account in set(accounts) - known.keys():
            known[account] = _sorts_of(account, corrects)
        return list(map(known.__getitem__, accounts))


def _sorts_of(account: Account, corrects: bool) -> _Sorts:
    *_, price, list_price, kwh_price, overhead, _ = account.terms
    energy = [
        None if of is None else Sort(account, meter, "", of, of, corrects)
        for meter, of in ((_ENERGY, kwh_price), (_OVERHEAD, overhead))
    ]
    if price is None or list_price is None:
        return (*energy, *[None] * _STATES)
    return (*energy, *(Sort(account, _GPU, state, price, list_price, corrects) for state in _NAMES))


def _priced(amount: int, sort: Sort | None) -> int:
    return 0 if sort is None else amount


def _skip_unpriced(block: Block, of_lines: Sequence[_Sorts], skipped: Skipped) -> None:
    for account, of, *amounts in zip(block.accounts, of_lines, *block.amounts[:_STATES], strict=True):
        if of[-1] is None and any(amounts):
            skipped.add(account, sum(amounts))


def _borne(rows: Sequence[int], block: Block, skipped: Skipped) -> tuple[list[int | None], list[int | None]]:
    """The energies that each row bears, of lines that have so many rows."""
    idle: list[int | None] = [None] * sum(rows)
    dynamic = idle.copy()
    at = 0
    for count, idle_mj, dynamic_mj in zip(rows, *block.amounts[_STATES + 1 :], strict=True):
        if count:
            idle[at], dynamic[at] = idle_mj, dynamic_mj
        else:
            skipped.add_energy(idle_mj, dynamic_mj)
        at += count
    return idle, dynamic


class Printed(NamedTuple):
    """The rounded figures of some charges, in units of 10⁻⁹: quantity, cost and both parts of the energy.

    `of_meter` are the sums of the quantities, in the order of METERS.
    """

    quantity: Sequence[int]
    cost: Sequence[int]
    energy_idle: Sequence[int | None]
    energy_dynamic: Sequence[int | None]
    of_meter: Sequence[int]


class Figures:
    """Rounds the figures of all charges over the whole file."""

    def __init__(self) -> None:
        self._quantity = [Rounding(HOUR, DIGITS) for _ in METERS]
        self._cost = Rounding(SCALE, DIGITS)
        self._idle, self._dynamic = Rounding(HOUR, DIGITS), Rounding(HOUR, DIGITS)

    @property
    def roundings(self) -> list[Rounding]:
        """What has to be shown all charges."""
        return [*self._quantity, self._cost, self._idle, self._dynamic]

    def look(self, some: Charges, asking: Sequence[Rounding]) -> None:
        """Show some charges to those that ask."""
        for rounding, quantities in zip(self._quantity, some.by_meter(some.quantities), strict=True):
            if rounding in asking:
                rounding.look(quantities)
        if self._cost in asking:
            self._cost.look(some.costs())
        for rounding, energies in ((self._idle, some.energy_idle_mj), (self._dynamic, some.energy_dynamic_mj)):
            if rounding in asking:
                look_known(rounding, energies)

    def printed(self, some: Charges) -> Printed:
        """The figures of the next charges."""
        rounded = [
            rounding.round(quantities)
            for rounding, quantities in zip(self._quantity, some.by_meter(some.quantities), strict=True)
        ]
        left = [iter(of_meter) for of_meter in rounded]
        return Printed(
            list(map(next, map(left.__getitem__, map(_METER, some.sorts)))),
            self._cost.round(some.costs()),
            round_known(self._idle, some.energy_idle_mj),
            round_known(self._dynamic, some.energy_dynamic_mj),
            list(map(sum, rounded)),
        )
