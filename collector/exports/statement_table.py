"""A statement as tables for a terminal."""

import io
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gputally.collector.exports.printed import Idle, Lost, facts, idle, kinds, losses, rows, summary, title, total
from gputally.collector.statement.view import View

_WIDEST = 10_000


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
    currency = view.statement.currency or "amount"
    table = _table("team", "namespace", "device", "what")
    for heading in ("GPU-hours", "price", currency):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    section = ""
    for row in rows(view):
        if row.section != section:
            table.add_section()
            table.add_row(*map(Text, ("", row.section)))
            section = row.section
        quantity = row.quantity if row.unit == "h" else f"{row.quantity} {row.unit}"
        cells = (row.team, row.namespace, row.device, row.what, quantity, row.price, row.amount)
        table.add_row(*map(Text, cells))
    return _drawn(table, width)


def _summary(view: View, width: int | None) -> str:
    table = _table("sum")
    for heading in ("GPU-hours", view.statement.currency or "amount"):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for cells in summary(view):
        table.add_row(*map(Text, cells))
    table.add_section()
    table.add_row(*map(Text, ("total", "", total(view).partition(" ")[0])))
    return _drawn(table, width)


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
    table = _table(*names)
    for heading in ("idle hours", view.statement.currency or "amount"):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    noted = any(row.unpriced for _, row in rows)
    if noted:
        table.add_column(Text(""))
    for parts, row in rows:
        table.add_row(*map(Text, (*parts, row.hours, row.amount, *([row.unpriced] if noted else []))))
    return _drawn(table, width)


def _table(*names: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in names:
        table.add_column(Text(name), overflow="fold")
    return table


def _drawn(table: Table, width: int | None) -> str:
    """As wide as it needs to be, or folded to the terminal's width."""
    needed = Measurement.get(Console(width=_WIDEST), Console(width=_WIDEST).options, table).maximum
    out = io.StringIO()
    Console(file=out, width=min(width or needed, needed), color_system=None).print(table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"
