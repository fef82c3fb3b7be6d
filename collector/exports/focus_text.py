"""Rows of FOCUS as text, many at a time: what rows of one sort share is made text once."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from gputally.collector.exports.csv_text import field
from gputally.collector.exports.focus_charge import Charges, Printed, Sort
from gputally.collector.exports.focus_columns import Version, columns
from gputally.collector.exports.focus_row import Row, RowMaker

_MOST = 40_000  # shapes that are remembered; some 40 MB
_AT_ONCE = 250  # rows whose text is in memory
OWN = frozenset(
    {
        *("AllocatedMethodDetails", "BilledCost", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity"),
        *("ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity", "x_EnergyDynamicKwh", "x_EnergyIdleKwh"),
        *("x_LineId", "x_Microseconds"),
    }
)
_JSON = "AllocatedMethodDetails"  # the only one of them that has to be quoted
_quoted = lru_cache(1_000)(field)  # most come again, and soon
_once = lru_cache(1_000)(str)  # the same object for the same text


@dataclass(frozen=True, slots=True)
class Facts:
    """What is to be known of a shape, once a row of it was found right, to look at others: prices are 10⁻⁹."""

    list_price: int
    price: int
    billed: tuple[str, str]


@dataclass(slots=True, eq=False)
class Shape:
    """What rows share: the line's text before, between and after the values that are a row's own.

    `facts` is for whoever checks rows; None: no row of it was found right yet.
    """

    parts: Sequence[str]
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows: the shape of each, and the columns of what is its own."""

    names: Sequence[str]
    shapes: Sequence[Shape]
    own: Mapping[str, Sequence[str]]

    def __iter__(self) -> Iterator[Row]:
        """Each row, by the names of its columns, as a reader finds it in the file."""
        lines = map("".join, self._woven(0, len(self.shapes)) if self.shapes else ())
        return (dict(zip(self.names, values, strict=True)) for values in csv.reader(lines))

    def only(self, places: Sequence[int]) -> "Rows":
        """Some of them."""
        own = {name: [column[at] for at in places] for name, column in self.own.items() if column}
        return Rows(self.names, [self.shapes[at] for at in places], own)

    def texts(self) -> Iterator[str]:
        """The rows as they stand in the file, some hundreds at a time."""
        for start in range(0, len(self.shapes), _AT_ONCE):
            yield "".join(chain.from_iterable(self._woven(start, start + _AT_ONCE)))

    def _woven(self, start: int, end: int) -> Iterable[Sequence[str]]:
        """What the lines are made of: parts of the shape, and what is the row's own between them."""
        own = [self._own(name, start, end) for name in self.names if name in OWN]
        first, *others = zip(*[shape.parts for shape in self.shapes[start:end]], strict=True)
        return zip(first, *chain.from_iterable(zip(own, others, strict=True)), strict=True)

    def _own(self, name: str, start: int, end: int) -> Sequence[str]:
        column = self.own[name][start:end]
        return list(map(field, column)) if name == _JSON else column


class Shaper:
    """Makes the rows of a file in its version."""

    def __init__(self, maker: RowMaker, version: Version) -> None:
        self._maker = maker
        self._names = columns(version)
        self._allocates = version is Version.V1_3
        self._shapes: tuple[dict[Sort, Shape], dict[Sort, Shape]] = ({}, {})  # of what allocates the others

    def rows(self, some: Charges, printed: Printed, ratios: Sequence[str | None]) -> Rows:
        """The rows of the next charges; a ratio is one's part of its device's hour, None where it is no part of one.

        There are none of them but in 1.3.
        """
        if self._allocates:
            shapes = [self._shape(sort, ratio is not None) for sort, ratio in zip(some.sorts, ratios, strict=True)]
        else:
            different = {sort: self._shape(sort, allocates=False) for sort in set(some.sorts)}
            shapes = list(map(different.__getitem__, some.sorts))
        return Rows(self._names, shapes, self._maker.figures(some, printed, ratios))

    def _shape(self, sort: Sort, allocates: bool) -> Shape:
        known = self._shapes[allocates]
        shape = known.get(sort)
        if shape is None:
            if len(known) >= _MOST:
                known.clear()
            constants = self._maker.constants(sort, allocates=allocates)
            shape = known[sort] = Shape(parts(self._names, constants))
        return shape


def parts(names: Sequence[str], shared: Mapping[str, str]) -> tuple[str, ...]:
    """The text of a line before, between and after what is a row's own; what is not there is empty."""
    found, part = list[str](), list[str]()
    for name in names:
        if name in OWN:
            found.append(_once("".join(part)))
            part = [","]
        else:
            part += _quoted(shared.get(name, "")), ","
    return (*found, "".join(part[:-1]) + "\n")
