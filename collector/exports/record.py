"""Lines as records: the columns of CSV, JSON and Parquet, and the amounts that add up over the whole file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

from gputally.accounting.ledger_hour import from_us
from gputally.collector.rates.card import exact
from gputally.collector.rates.cost import SCALE
from gputally.collector.statement.ground import Ground
from gputally.collector.statement.line import Amounts, Holding, Line
from gputally.collector.statement.month import month_name
from gputally.collector.statement.rounding import DIGITS, HOUR, Rounding, fixed, settle

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


class Records:
    """The records of a month. Costs and GPU-hours are rounded over the whole file, which is read twice for that."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._hours = Rounding(HOUR, DIGITS)
        self._costs = tuple(Rounding(SCALE, DIGITS) for _ in range(3))

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        """Each line's values, in the order of COLUMNS."""
        settle((self._hours, *self._costs), self._look)
        for line in self._ground.lines():
            yield self._record(line)

    def _look(self, asking: Sequence[Rounding]) -> None:
        for line in self._ground.lines():
            if self._hours in asking:
                self._hours.look(line.amounts.capacity_us)
            for rounding, cost in zip(self._costs, costs(line), strict=True):
                if cost is not None and rounding in asking:
                    rounding.look(cost)

    def _record(self, line: Line) -> tuple[Value, ...]:
        found = [
            None if cost is None else fixed(rounding.round(cost), DIGITS)
            for rounding, cost in zip(self._costs, costs(line), strict=True)
        ]
        return (
            instant_text(line.hour_us),
            *self._names(line),
            *line.amounts,
            fixed(self._hours.round(line.amounts.capacity_us), DIGITS),
            line.terms.rate_version,
            None if line.terms.price is None else exact(line.terms.price),
            self._ground.statement.currency or None,
            *found,
        )

    def _names(self, line: Line) -> Iterator[Value]:
        month = self._ground.month
        of = {**dict(zip(Holding._fields, line.holding, strict=True)), **line.terms._asdict()}
        corrects = month_name(line.hour_us, self._ground.zone) if line.hour_us < month.start_us else ""
        of.update(month=month.name, corrects=corrects)
        return (of[name] for name in _TEXTS)


def costs(line: Line) -> tuple[int | None, int | None, int | None]:
    """Of the time, of the energy, and of what the building draws besides."""
    return line.cost, line.energy_cost, line.overhead_cost


@lru_cache(10_000)  # a month has 745 hours
def instant_text(us: int) -> str:
    """An instant in UTC, as RFC 3339 and FOCUS have it."""
    return f"{from_us(us):%Y-%m-%dT%H:%M:%SZ}"
