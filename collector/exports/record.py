"""Lines as records: the columns of CSV, JSON and Parquet, and the amounts that add up over the whole file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from operator import mul
from typing import Any, NamedTuple, TypeAlias

from gputally.accounting.ledger_hour import from_us
from gputally.collector.rates.card import exact
from gputally.collector.rates.cost import SCALE, energy_cost, time_cost
from gputally.collector.statement.block import Account, Block
from gputally.collector.statement.ground import Ground
from gputally.collector.statement.line import Amounts, Holding
from gputally.collector.statement.month import month_name
from gputally.collector.statement.rounding import DIGITS, HOUR, Rounding, fixed_column, look_known, round_known, settle

Value: TypeAlias = str | int | None


class Kind(StrEnum):
    """What a column holds; decimals are text, so that nothing is lost on the way."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    INSTANT = "instant"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file of lines."""

    name: str
    kind: Kind
    comment: str


_TEXTS = {
    "month": "the billing month that the line is billed in",
    "corrects": "the closed month that it corrects; empty: its own",
    "cluster": "",
    "node": "",
    "uuid": "of the device",
    "model": "",
    "partition": "gpu, replica, or a MIG instance's UUID",
    "profile": "of a MIG instance",
    "kind": "pod, host or platform",
    "namespace": "",
    "namespace_uid": "one made again under its name is another namespace; empty: not known",
    "pod": "",
    "container": "",
    "pod_uid": "",
    "user": "of a process outside pods",
    "unit": "of a process outside pods",
    "basis": "reservation or process",
    "reason": "why time is unobserved or unallocated",
    "team": "",
    "cost_center": "",
}
COLUMNS: tuple[Column, ...] = (
    Column("hour", Kind.INSTANT, "UTC start of the ledger hour"),
    *(Column(name, Kind.TEXT, comment) for name, comment in _TEXTS.items()),
    *(Column(name, Kind.INTEGER, "microseconds") for name in Amounts._fields[:6]),
    *(Column(name, Kind.INTEGER, "millijoules; empty: unknown") for name in Amounts._fields[6:]),
    Column("gpu_hours", Kind.DECIMAL, "all states together"),
    Column("rate_version", Kind.INTEGER, "of the rate card"),
    Column("price", Kind.DECIMAL, "per GPU-hour; empty: unpriced"),
    Column("currency", Kind.TEXT, ""),
    Column("cost", Kind.DECIMAL, "of the time; empty: unpriced"),
    Column("energy_cost", Kind.DECIMAL, "empty: no price, or not measured"),
    Column("overhead_cost", Kind.DECIMAL, "of what the building draws besides"),
)


class Figures(NamedTuple):
    """The rounded figures of a block's lines, in units of 10⁻⁹: GPU-hours, and three costs, which may be unknown."""

    hours: Sequence[int]
    costs: Sequence[Sequence[int | None]]


class Records:
    """The records of a month. Costs and GPU-hours are rounded over the whole file, which is read twice for that."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._hours = Rounding(HOUR, DIGITS)
        self._costs = tuple(Rounding(SCALE, DIGITS) for _ in range(3))

    def blocks(self) -> Iterator[tuple[Block, Figures]]:
        """The lines with their figures, in order."""
        settle((self._hours, *self._costs), self._look)
        for block in self._ground.blocks():
            found = zip(self._costs, costs(block), strict=True)
            yield block, Figures(self._hours.round(block.capacities()), [round_known(*cost) for cost in found])

    def _look(self, asking: Sequence[Rounding]) -> None:
        for block in self._ground.blocks():
            if self._hours in asking:
                self._hours.look(block.capacities())
            for rounding, cost in zip(self._costs, costs(block), strict=True):
                if rounding in asking:
                    look_known(rounding, cost)

    def columns(self) -> Iterator[list[Sequence[Value]]]:
        """The values of a block's lines, column by column in the order of COLUMNS."""
        for block, figures in self.blocks():
            named: dict[Account, tuple[Value, ...]] = {}
            priced: dict[Account, tuple[Value, ...]] = {}
            for account in set(block.accounts):
                named[account], priced[account] = names(account), self.price(account)
            yield [
                [instant_text(hour_us) for hour_us in block.hours],
                [self._ground.month.name] * len(block.hours),
                [self.corrects(hour_us) for hour_us in block.hours],
                *zip(*(named[account] for account in block.accounts), strict=True),
                *block.amounts,
                fixed_column(figures.hours, DIGITS),
                *zip(*(priced[account] for account in block.accounts), strict=True),
                *(fixed_column(cost, DIGITS) for cost in figures.costs),
            ]

    def corrects(self, hour_us: int) -> str:
        """The month that a line of this hour corrects; empty: none."""
        return month_name(hour_us, self._ground.zone) if hour_us < self._ground.month.start_us else ""

    def price(self, account: Account) -> tuple[Value, ...]:
        """What stands between a line's hours and its costs: version of the card, price, currency."""
        price = account.terms.price
        return (
            account.terms.rate_version,
            None if price is None else exact(price),
            self._ground.currency or None,
        )


def names(account: Account) -> tuple[Value, ...]:
    """What a line is named by after the months."""
    of = {**dict(zip(Holding._fields, account.holding, strict=True)), **account.terms._asdict()}
    return tuple(of[name] for name in _TEXTS if name not in ("month", "corrects"))


def costs(block: Block) -> tuple[list[int | None], list[int | None], list[int | None]]:
    """Of the time, of the energy, and of what the building draws besides: exact, as `rates.cost` counts."""
    terms = [account.terms for account in block.accounts]
    energies = block.energies()
    return (
        _products(block.capacities(), [of.price for of in terms], time_cost),
        _products(energies, [of.kwh_price for of in terms], energy_cost),
        _products(energies, [of.overhead_price for of in terms], energy_cost),
    )


def _products(
    amounts: Sequence[Any], prices: Sequence[int | None], cost: Callable[[Any, int | None], int | None]
) -> list[int | None]:
    """What each costs; where all is known, many at a time."""
    if None in prices or None in amounts:
        return list(map(cost, amounts, prices))
    return list(map(mul, amounts, prices))


@lru_cache(10_000)  # a month has 745 hours
def instant_text(us: int) -> str:
    """An instant in UTC, as RFC 3339 and FOCUS have it."""
    return f"{from_us(us):%Y-%m-%dT%H:%M:%SZ}"
