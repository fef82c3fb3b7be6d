"""Ledgers for tests of statements: windows around a month, rate cards whose prices change, and months closed."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from tests.windows import START_US, all_received

from gputally.accounting.ledger_hour import HOUR_US, to_us
from gputally.accounting.line import Window
from gputally.collector.database.engine import reading
from gputally.collector.exports.lines_csv import write_csv
from gputally.collector.exports.statement_csv import as_csv
from gputally.collector.exports.statement_html import as_html
from gputally.collector.exports.statement_table import as_table
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.statement.close import Allowance, Request, close_month
from gputally.collector.statement.ground import ground
from gputally.collector.statement.line import Amounts, Holding, Line
from gputally.collector.statement.live import live_lines
from gputally.collector.statement.month import Month, month_at, parse_month
from gputally.collector.statement.read import read_statement
from gputally.collector.statement.register import Closed
from gputally.collector.statement.terms import read_terms
from gputally.collector.statement.view import View

UTC = ZoneInfo("UTC")
JULY = parse_month("2026-07", UTC)
AUGUST = parse_month("2026-08", UTC)
LATER_US = to_us(datetime(2027, 6, 1, tzinfo=UTC))  # when every month of the tests is over
EVERYTHING = tuple(Allowance)

CARD = """\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2026-01-01, per_gpu_hour: 3.337}
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: "%s", per_gpu_hour: 2.7}
  - {match: {model: NVIDIA H100 80GB HBM3, namespace: vision}, valid_from: 2026-01-01, per_gpu_hour: 1.123456789}
  - {match: {model: NVIDIA A100-SXM4-40GB, profile: 1g.10gb}, valid_from: 2026-01-01, per_gpu_hour: 0.7}
energy:
  - {valid_from: 2026-01-01, per_kwh: 0.31, pue: 1.3}
"""
TEAMS = """\
version: 1
namespaces:
  - {namespace: search, team: engines, cost_center: "4711", valid_from: 2026-01-01}
  - {namespace: search, team: finders, valid_from: "%s"}
"""

# What the clocks of the billing time zone do around the windows of a history; each is the middle of one.
MOMENTS = {
    "UTC": to_us(datetime(2026, 8, 1, tzinfo=UTC)),  # the edge of a month
    "Asia/Kolkata": to_us(datetime(2026, 7, 31, 18, 30, tzinfo=UTC)),  # the same edge, at half past
    "Europe/Berlin": to_us(datetime(2026, 10, 25, 1, tzinfo=UTC)),  # an hour comes twice
    "Australia/Lord_Howe": to_us(datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),  # half an hour is skipped
}


def moved(windows: Iterable[Window], middle_us: int) -> list[Window]:
    """A history of `tests.windows` around another instant."""
    shift_us = middle_us - HOUR_US // 6 - START_US
    return [replace(one, start_us=one.start_us + shift_us, end_us=one.end_us + shift_us) for one in windows]


def book(engine: Engine, windows: Sequence[Window], zone: ZoneInfo = UTC) -> None:
    """Commit windows, however late they are, and settle them."""
    Committer(engine, zone, max_age_us=None).commit(all_received(windows), now_us=LATER_US)
    settle(engine, zone)


def apply(engine: Engine, change: str = "2026-07-20", card: str = CARD, at_us: int = 1) -> None:
    """A rate card whose price falls, and a namespace that changes its team, at one instant."""
    apply_file(engine, Kind.RATES, (card % change).encode(), "ann@laptop", at_us)
    apply_file(engine, Kind.TEAMS, (TEAMS % change).encode(), "ann@laptop", at_us)


def close(
    engine: Engine,
    month: Month = JULY,
    zone: ZoneInfo = UTC,
    allow: Sequence[Allowance] = EVERYTHING,
    now_us: int | None = None,
) -> Closed:
    """Close a month, the day after it ended if nothing else is said."""
    at_us = month.end_us + 24 * HOUR_US if now_us is None else now_us
    return close_month(engine, zone, Request(month, "ann@laptop", at_us, allow))


def month_of(us: int, zone: ZoneInfo) -> Month:
    """The month that holds an instant."""
    return month_at(us, zone)


def renderings(engine: Engine, month: Month = JULY, zone: ZoneInfo = UTC) -> list[str]:
    """Everything that is printed of a month, but FOCUS and Parquet."""
    found = read_statement(engine, zone, month)
    view = View(found.statement)
    return [
        found.json(view),
        as_csv(view),
        as_html(view, found.content_hash),
        as_table(view, found.content_hash, 120),
        lines_csv(engine, month, zone),
    ]


def lines_csv(engine: Engine, month: Month = JULY, zone: ZoneInfo = UTC) -> str:
    """The lines of a month as CSV."""
    out = io.StringIO()
    with ground(engine, zone, month) as found:
        write_csv(found, out)
    return out.getvalue()


def lines_of(engine: Engine, month: Month, zone: ZoneInfo = UTC) -> list[Line]:
    """The lines of a month."""
    with ground(engine, zone, month) as found:
        return list(found.lines())


def postings(engine: Engine, month: Month, zone: ZoneInfo = UTC) -> dict[tuple[int, Holding], tuple[Any, ...]]:
    """The ledger of a month as it is now, by hour and name."""
    settle(engine, zone)
    with reading(engine) as connection:
        return summed(live_lines(connection, month.period, read_terms(connection, zone)))


def summed(lines: Iterable[Line]) -> dict[tuple[int, Holding], tuple[Any, ...]]:
    """Lines added up by hour and name; unknown energy counts as none, and what comes to nothing is left out."""
    sums: dict[tuple[int, Holding], list[int]] = defaultdict(lambda: [0] * len(Amounts._fields))
    for line in lines:
        for at, value in enumerate(line.amounts):
            sums[line.hour_us, line.holding][at] += value or 0
    return {key: tuple(values) for key, values in sums.items() if any(values)}


def cost_of(lines: Iterable[Line]) -> int:
    """The exact cost of lines, energy included."""
    return sum((line.cost or 0) + (line.energy_cost or 0) + (line.overhead_cost or 0) for line in lines)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
