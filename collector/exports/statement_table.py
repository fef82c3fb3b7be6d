"""A statement as tables for a terminal."""

from collections.abc import Sequence

from gputally.collector.exports.grid import Column, Grid, drawn
from gputally.collector.exports.printed import Idle, Lost, facts, idle, kinds, losses, rows, summary, title, total
from gputally.collector.statement.view import View


def as_table(view: View, content_hash: str | None, width: int | None) -> str:
    """The statement as text; `width` is the terminal's, None where there is none."""
    parts = [title(view), "\n".join(f"  {name:<9} {text}" for name, text in facts(view, content_hash))]
    if not view.items:
        return "\n".join([*parts, "", "No GPU time is booked.", ""])
    parts += ["", _items(view, width), _summary(view, width)]
    if view.statement.waste is not None and losses(view):
        parts += ["The dearest waste", "", _lost(view, width), "All idle time by kind", "", _kinds(view, width)]
    elif idle(view):
        parts += ["The dearest idle workloads", "", _idle(view, width)]
    return "\n".join(parts)


def _items(view: View, width: int | None) -> str:
    grid = _grid(view, ("team", "namespace", "device", "what"), "GPU-hours", "price")
    section = ""
    for row in rows(view):
        if row.section != section:
            grid.section()
            grid.add("", row.section)
            section = row.section
        quantity = row.quantity if row.unit == "h" else f"{row.quantity} {row.unit}"
        grid.add(row.team, row.namespace, row.device, row.what, quantity, row.price, row.amount)
    return drawn(grid, width)


def _summary(view: View, width: int | None) -> str:
    grid = _grid(view, ("sum",), "GPU-hours")
    for cells in summary(view):
        grid.add(*cells)
    grid.section()
    grid.add("total", "", total(view).partition(" ")[0])
    return drawn(grid, width)


def _lost(view: View, width: int | None) -> str:
    names = ("team", "namespace", "workload", "how it was idle", "")
    found = losses(view)
    parts = [(row.team, row.namespace, row.workload, row.kind, row.provisional) for row in found]
    return _idle_time(view, width, names, list(zip(parts, found, strict=True)))


def _kinds(view: View, width: int | None) -> str:
    found = kinds(view)
    parts = [(row.kind, row.provisional) for row in found]
    return _idle_time(view, width, ("kind", ""), list(zip(parts, found, strict=True)))


def _idle(view: View, width: int | None) -> str:
    found = idle(view)
    parts = [(row.team, row.namespace, row.pod) for row in found]
    return _idle_time(view, width, ("team", "namespace", "pod"), list(zip(parts, found, strict=True)))


def _idle_time(
    view: View, width: int | None, names: Sequence[str], rows: Sequence[tuple[Sequence[str], Lost | Idle]]
) -> str:
    """Names, hours and amounts; with a column for what amounts are without where there is any."""
    noted = any(row.unpriced for _, row in rows)
    grid = _grid(view, names, "idle hours", notes=noted)
    for parts, row in rows:
        grid.add(*parts, row.hours, row.amount, *([row.unpriced] if noted else []))
    return drawn(grid, width)


def _grid(view: View, names: Sequence[str], *figures: str, notes: bool = False) -> Grid:
    """Columns of names, of figures, and of amounts."""
    numbers = (*figures, view.statement.currency or "amount")
    columns = [*map(Column, names), *(Column(heading, figures=True) for heading in numbers)]
    return Grid([*columns, Column("", folded=False)] if notes else columns)
