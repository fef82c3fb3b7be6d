"""Rows of texts as a table for a terminal: drawn here where all of it fits, and folded by rich where it does not.

To measure and draw eleven thousand rows takes rich six seconds, which is most of what a large statement would take.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_WIDEST = 10_000
_APART = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """Figures stand to the right and are never folded; names are, and what is not `folded` is cut short."""

    heading: str
    figures: bool = False
    folded: bool = True


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows have a text for each column, or for the first of them; before some rows a section begins."""

    columns: Sequence[Column]
    rows: list[Sequence[str]] = field(default_factory=list)
    sections: set[int] = field(default_factory=set)

    def section(self) -> None:
        """Leave a line out before the next row."""
        self.sections.add(len(self.rows))

    def add(self, *texts: str) -> None:
        """The next row."""
        self.rows.append(texts)


def drawn(grid: Grid, width: int | None) -> str:
    """As wide as it needs to be, or folded to the terminal's `width`; it ends with a newline."""
    lines = [[column.heading for column in grid.columns], *grid.rows]
    cells = [[*line, *[""] * (len(grid.columns) - len(line))] for line in lines]
    columns = list(zip(*cells, strict=True))
    lengths = [list(map(cell_len, column)) for column in columns]
    widths = list(map(max, lengths))
    needed = 2 + sum(widths) + len(_APART) * (len(widths) - 1)
    if (width is not None and width < needed) or not all(map(str.isprintable, map("".join, columns))):
        return _by_rich(grid, width)
    rights = [column.figures for column in grid.columns]
    aligned = map(_aligned, rights, columns, lengths, widths)
    heading, *rows = [f" {_APART.join(line)}".rstrip() for line in zip(*aligned, strict=True)]
    found = [heading, f" {'─' * (needed - 2)}"]
    for at, row in enumerate(rows):
        found += ["", row] if at and at in grid.sections else [row]
    return "\n".join(found) + "\n"


def _aligned(right: bool, texts: Sequence[str], lengths: Sequence[int], width: int) -> Sequence[str]:
    gaps = [" " * (width - length) for length in lengths]
    return list(map("".join, zip(gaps, texts, strict=True) if right else zip(texts, gaps, strict=True)))


def _by_rich(grid: Grid, width: int | None) -> str:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in grid.columns:
        if column.figures:
            table.add_column(Text(column.heading), justify="right", no_wrap=True)
        else:
            table.add_column(Text(column.heading), overflow="fold" if column.folded else "ellipsis")
    for at, row in enumerate(grid.rows):
        if at in grid.sections:
            table.add_section()
        table.add_row(*map(Text, row))
    needed = Measurement.get(Console(width=_WIDEST), Console(width=_WIDEST).options, table).maximum
    out = io.StringIO()
    Console(file=out, width=min(width or needed, needed), color_system=None).print(table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"
