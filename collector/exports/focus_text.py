"""Rows of FOCUS as text, many at a time: what rows of one sort share is made text once."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gputally.collector.exports.csv_text import field, fields
from gputally.collector.exports.focus_charge import Charges, Printed, Sort
from gputally.collector.exports.focus_columns import Version, columns
from gputally.collector.exports.focus_row import Row, RowMaker

_MOST = 40_000  # shapes that are remembered; some 40 MB
OWN = frozenset(
    {
        *("AllocatedMethodDetails", "BilledCost", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity"),
        *("ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity", "x_EnergyDynamicKwh", "x_EnergyIdleKwh"),
        *("x_LineId", "x_Microseconds"),
    }
)
_JSON = "AllocatedMethodDetails"  # the only one of them that has to be quoted


@dataclass(frozen=True, slots=True)
class Facts:
    """What is to be known of a shape, once a row of it was found right, to look at others: prices are 10⁻⁹."""

    list_price: int
    price: int
    billed: tuple[str, str]


@dataclass(slots=True, eq=False)
class Shape:
    """What rows share: the line's text, with a place for each value that is a row's own.

    `facts` is for whoever checks rows; None: no row of it was found right yet.
    """

    text: str
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows: the shape of each, and the columns of what is its own."""

    names: Sequence[str]
    shapes: Sequence[Shape]
    own: Mapping[str, Sequence[str]]

    def __iter__(self) -> Iterator[Row]:
        """Each row, by the names of its columns."""
        return map(self._read, self.lines())

    def only(self, places: Sequence[int]) -> "Rows":
        """Some of them."""
        own = {name: [column[at] for at in places] for name, column in self.own.items() if column}
        return Rows(self.names, [self.shapes[at] for at in places], own)

    def lines(self) -> Iterator[str]:
        """Each row as it stands in the file."""
        own = [_quoted(self.own[name]) if name == _JSON else self.own[name] for name in self.names if name in OWN]
        for shape, values in zip(self.shapes, zip(*own, strict=True), strict=True):
            yield shape.text % values

    def _read(self, line: str) -> Row:
        """What a reader finds in a line."""
        return dict(zip(self.names, next(csv.reader([line])), strict=True))


class Shaper:
    """Makes the rows of a file in its version."""

    def __init__(self, maker: RowMaker, version: Version) -> None:
        self._maker = maker
        self._names = columns(version)
        self._allocates = version is Version.V1_3
        self._shared = [name for name in self._names if name not in OWN]
        self._frame = ",".join("%%s" if name in OWN else "%s" for name in self._names) + "\n"
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
            shape = known[sort] = Shape(self._text(self._maker.constants(sort, allocates=allocates)))
        return shape

    def _text(self, constants: Row) -> str:
        """What is shared in its places, a percent sign as a format has it."""
        shared = [field(constants.get(name, "")) for name in self._shared]
        return self._frame % tuple(shared if "%" not in "".join(shared) else [one.replace("%", "%%") for one in shared])


def _quoted(column: Sequence[str]) -> Sequence[str]:
    return [text and fields([text]) for text in column]
