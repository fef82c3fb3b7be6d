"""Which columns a terminal has room for, and how wide each is. Names may be cut short; figures never are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from gputally.collector.top.rows import Column, Row

GAPS = (2, 1)  # cells between two columns; one where two would cost a column, or a letter of a name
# To the right.
FIGURES = frozenset(
    (Column.GPUS, Column.BUSY, Column.SINCE, Column.LASTS, Column.MEMORY, Column.RATE, Column.COST),
)
# In this order columns go where there is no room; those that are not named stay.
DROPPED = (
    *(Column.MODEL, Column.CONTAINER, Column.SINCE, Column.PART, Column.DEVICE, Column.MEMORY),
    *(Column.NODE, Column.RATE, Column.BUSY, Column.GPUS, Column.NAMESPACE, Column.LASTS),
)
_EXTRA = frozenset((Column.MODEL, Column.CONTAINER, Column.SINCE))  # not at the price of a name that is cut short
_LEAST = {Column.NAMESPACE: 8, Column.POD: 14, Column.CONTAINER: 8, Column.NODE: 8, Column.PART: 7, Column.MODEL: 8}


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that fit, with their widths in cells, and the gap between them."""

    widths: Mapping[Column, int]
    gap: int


def layout(rows: Sequence[Row], headings: Mapping[Column, str], hidden: frozenset[Column], width: int | None) -> Layout:
    """The columns for `width` cells; None: all, as wide as they need to be."""
    full = {
        column: max(map(cell_len, (headings[column], *(row.cells[column] for row in rows))))
        for column in Column
        if column not in hidden
    }
    least = {column: min(full[column], _LEAST.get(column, full[column])) for column in full}
    # The heading that shows by what rows are sorted says so at its end.
    least |= {column: max(least[column], cell_len(headings[column])) for column in full if headings[column] != column}
    wide, narrow = GAPS
    if width is None:
        return Layout(full, wide)
    for column in (None, *DROPPED):
        least = {one: cells for one, cells in least.items() if one is not column}
        wanted = {one: full[one] for one in least} if _EXTRA & least.keys() else least
        gap = wide if _needed({one: full[one] for one in least}, wide) <= width else narrow
        if _needed(wanted, gap) <= width:
            break
    return Layout(_widened(least, full, width - _needed(least, gap)), gap)


def _needed(widths: Mapping[Column, int], gap: int) -> int:
    return sum(widths.values()) + gap * (len(widths) - 1)


def _widened(least: Mapping[Column, int], full: Mapping[Column, int], spare: int) -> dict[Column, int]:
    """The widths with what is to spare, first to the pods' names."""
    widths = dict(least)
    for column in sorted(least, key=lambda one: one is not Column.POD):
        more = max(0, min(spare, full[column] - widths[column]))
        widths[column] += more
        spare -= more
    return widths
