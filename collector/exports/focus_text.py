"""Rows of FOCUS as text, many at a time: what rows of one account, meter and state share is made text once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from gputally.collector.exports.csv_text import fields
from gputally.collector.exports.focus_charge import Charge, Printed
from gputally.collector.exports.focus_columns import Version, columns
from gputally.collector.exports.focus_row import Row, RowMaker

_MOST = 16_000  # shapes that are remembered; some 25 MB
OWN = frozenset(
    {
        *("AllocatedMethodDetails", "BilledCost", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity"),
        *("ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity", "x_EnergyDynamicKwh", "x_EnergyIdleKwh"),
        *("x_LineId", "x_Microseconds"),
    }
)
_JSON = "AllocatedMethodDetails"  # the only one of them that has to be quoted

_Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Shape:
    """What rows share: the values, and the line's text with a place for each value that is a row's own."""

    places: Mapping[str, int]  # of the columns' values, the same object for all shapes of a file
    values: tuple[str, ...]
    text: str

    def get(self, name: str) -> str:
        """A shared value; empty where there is none."""
        at = self.places.get(name)
        return "" if at is None else self.values[at]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows: the shape of each, and the columns of what is its own."""

    names: Sequence[str]
    shapes: Sequence[Shape]
    own: Mapping[str, Sequence[str]]

    def __iter__(self) -> Iterator[Row]:
        """Each row, by the names of its columns."""
        return map(self.row, range(len(self.shapes)))

    def row(self, at: int) -> Row:
        """One of them."""
        shape = self.shapes[at]
        shared = dict(zip(shape.places, shape.values, strict=True))
        return {**shared, **{name: column[at] for name, column in self.own.items()}}

    def lines(self) -> Iterator[str]:
        """Each row as it stands in the file."""
        own = [_quoted(self.own[name]) if name == _JSON else self.own[name] for name in self.names if name in OWN]
        for shape, values in zip(self.shapes, zip(*own, strict=True), strict=True):
            yield shape.text % values


class Shaper:
    """Makes the rows of a file in its version."""

    def __init__(self, maker: RowMaker, version: Version) -> None:
        self._maker = maker
        self._names = columns(version)
        self._places = {name: at for at, name in enumerate(name for name in self._names if name not in OWN)}
        self._shapes: dict[_Key, Shape] = {}

    def rows(self, some: Sequence[Charge], printed: Printed, ratios: Sequence[str | None]) -> Rows:
        """The rows of the next charges; a ratio is one's part of its device's hour, None where it is no part of one."""
        if len(self._shapes) > _MOST:
            self._shapes.clear()
        shapes, known, corrects = [], self._shapes, self._maker.corrects
        for charge, ratio in zip(some, ratios, strict=True):
            key = (charge.account, charge.meter, charge.state, corrects(charge), ratio is None)
            shape = known.get(key)
            if shape is None:
                shape = known[key] = self._shape(self._maker.constants(charge, allocates=ratio is not None))
            shapes.append(shape)
        own = self._maker.figures(some, printed, ratios)
        return Rows(self._names, shapes, own)

    def _shape(self, constants: Row) -> Shape:
        """Own columns stand between stretches of those that are shared."""
        stretches = groupby(self._names, key=OWN.__contains__)
        parts = [
            ",".join("%s" for _ in names)
            if own
            else fields(constants.get(name, "") for name in names).replace("%", "%%")
            for own, names in stretches
        ]
        return Shape(self._places, tuple(constants.get(name, "") for name in self._places), ",".join(parts) + "\n")


def _quoted(column: Sequence[str]) -> Sequence[str]:
    return [text and fields([text]) for text in column]
