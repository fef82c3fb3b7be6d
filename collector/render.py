"""A report as JSON, as CSV, or as a table for people.

JSON and CSV carry the ledger's integers. The table prints GPU-hours and kWh with one decimal, each column rounded by
largest remainder, so that the printed rows add up to the printed total; it fits the 80 columns of a terminal.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from fractions import Fraction

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gputally.accounting.ledger_hour import from_us
from gputally.accounting.split import largest_remainder
from gputally.accounting.states import OwnerKind
from gputally.collector.allocation import money
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.period import instant
from gputally.collector.exports.csv_text import as_lines
from gputally.collector.rates.cost import CARBON_SCALE, rounded
from gputally.collector.report import TOTAL, By, Report, Row

UNKNOWN = "–"  # printed for what is not known; never 0
EMPTY = "No GPU time is booked"

_TENTHS = 10  # the table has one decimal
_WIDEST = 10_000
# GPM's means over the time that had them, 0 to 1: how well time was used, never what is billed.
_QUALITY = {
    "sm_activity": "sm_us",
    "sm_occupancy": "occupancy_us",
    "tensor_activity": "tensor_us",
    "memory_bandwidth": "dram_us",
}
_NAME_WIDTH = 10  # names fold in a narrow terminal, but no further than this; figures are never cut
_FIGURE_WIDTH = 5  # no narrower, so that it is seen which column a word belongs to
_US_PER_HOUR = 3_600_000_000
_MJ_PER_KWH = 3_600_000_000
_AMOUNTS = (
    "capacity_us",
    "used_us",
    "idle_us",
    "unallocated_us",
    "unavailable_us",
    "unobserved_us",
    "reserved_us",
    "burst_us",
    "intruder_us",
    "energy_mj",
)
_PRINTED = {
    "reserved_us": "reserved",
    "used_us": "used",
    "idle_us": "idle",
    "unallocated_us": "unallocated",
    "unavailable_us": "unavailable",
    "unobserved_us": "unobserved",
    "energy_mj": "kWh",
}


class Format(StrEnum):
    """How a report can be printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def render(report: Report, form: Format, width: int | None) -> str:
    """The report as text that ends with a newline; `width` is the terminal's, None where there is none."""
    if form is Format.JSON:
        return as_json(report)
    return as_csv(report) if form is Format.CSV else as_table(report, width)


def as_json(report: Report) -> str:
    """One JSON object; times in microseconds, energy in millijoules, unknown is null."""
    *rows, total = _records(report)
    document = {
        "from": instant(report.start_us, report.zone),
        "to": instant(report.end_us, report.zone),
        "timezone": report.zone.key,
        "by": [key.value for key in report.by],
        "rows": rows,
        "total": total,
        "coverage": report.total.amounts.coverage,
        **({"currency": report.currency} if report.currency else {}),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_csv(report: Report) -> str:
    """The JSON's columns; the last line is the total, its owner is `total`. Unknown is empty."""
    money = ("cost", "unpriced_us", "carbon_g", "no_factor_mj") if report.currency else ()
    return as_lines([*report.by, "owner", *_AMOUNTS, *_QUALITY, *money], _records(report))


def as_table(report: Report, width: int | None) -> str:
    """GPU-hours, kWh and coverage; time that is not a pod's stands in brackets: (platform), (host)."""
    if not report.rows:
        return f"{EMPTY} {_span(report)}.\n"
    # With costs the columns stand closer, so that a fleet's month still fits a terminal.
    apart = 0 if report.currency else 1
    table = Table(box=SIMPLE_HEAD, show_edge=bool(apart), pad_edge=False, padding=(0, apart), collapse_padding=True)
    for key in _name_columns(report):
        table.add_column(key, overflow="fold")
    headings = [*_PRINTED.values(), "coverage", *([report.currency] if report.currency else [])]
    for _ in headings:
        table.add_column(justify="right", no_wrap=True, min_width=_FIGURE_WIDTH)
    for cells in _body(report):
        table.add_row(*map(Text, cells))
    table.add_section()
    table.add_row(*map(Text, _foot(report)))
    drawn = _headed(_drawn(table, width, _foldable(report)), headings)
    return f"GPU-hours {_span(report)}\n\n" + drawn + _carbon(report.total.money)


def _records(report: Report) -> list[dict[str, str | int | float | None]]:
    """The rows and their total, as JSON and CSV have them; costs, if there are prices, add up to the total's."""
    records = [_fields(report, row) for row in (*report.rows, report.total)]
    if report.currency:
        moneys = [row.money for row in report.rows]
        costs = [*money.column([of.cost for of in moneys]), *money.column([report.total.money.cost])]
        grams = [*money.grams([of.carbon for of in moneys]), *money.grams([report.total.money.carbon])]
        for record, cost, carbon_g, of in zip(records, costs, grams, [*moneys, report.total.money], strict=True):
            record.update(cost=cost, unpriced_us=of.unpriced_us, carbon_g=carbon_g, no_factor_mj=of.no_factor_mj)
    return records


def _fields(report: Report, row: Row) -> dict[str, str | int | float | None]:
    keys = dict(zip((key.value for key in report.by), row.keys, strict=True))
    amounts = {name: getattr(row.amounts, name) for name in _AMOUNTS}
    return {**keys, "owner": row.owner, **amounts, **{name: _mean(row.amounts, of) for name, of in _QUALITY.items()}}


def _mean(amounts: Amounts, name: str) -> float | None:
    """A quality figure to six decimals; None where nothing measured it."""
    mean = amounts.quality(name)
    return None if mean is None else round(mean, 6)


def _span(report: Report) -> str:
    start, end = (f"{from_us(us).astimezone(report.zone):%Y-%m-%d %H:%M}" for us in (report.start_us, report.end_us))
    return f"from {start} to {end} {report.zone.key}"


def _name_columns(report: Report) -> Sequence[str]:
    """The keys; the owner has a column of its own only where there is none for the namespace."""
    return [key.value for key in report.by] if By.NAMESPACE in report.by else [*report.by, "owner"]


def _names(report: Report, row: Row) -> list[str]:
    owner = row.owner if row.owner == OwnerKind.POD else f"({row.owner})"
    if By.NAMESPACE not in report.by:
        return [*row.keys, owner]
    keys = list(row.keys)
    if row.owner != OwnerKind.POD:
        keys[report.by.index(By.NAMESPACE)] = owner
    return keys


def _body(report: Report) -> Iterator[Sequence[str]]:
    columns = [_column(name, report) for name in _PRINTED]
    columns.append([_coverage(row.amounts) for row in report.rows])
    if report.currency:
        columns.append(_costs([row.money for row in report.rows]))
    for row, *figures in zip(report.rows, *columns, strict=True):
        yield (*_names(report, row), *figures)


def _foot(report: Report) -> Sequence[str]:
    total = report.total.amounts
    names = [TOTAL, *[""] * (len(_name_columns(report)) - 1)]
    costs = _costs([report.total.money]) if report.currency else []
    return (*names, *(_tenths(_rounded(name, total)) for name in _PRINTED), _coverage(total), *costs)


def _costs(moneys: Sequence[money.Money]) -> list[str]:
    """Costs with two decimals that add up; a + says that some of the time has no price and is in no cost."""
    known = iter(rounded([of.cost for of in moneys if of.cost is not None]))
    printed = [UNKNOWN if of.cost is None else _hundredths(next(known)) for of in moneys]
    return [text + "+" * (of.unpriced_us > 0 and of.cost is not None) for text, of in zip(printed, moneys, strict=True)]


def _carbon(total: money.Money) -> str:
    """A line below the table where carbon is known; a + as for costs: some of the energy has no factor."""
    if total.carbon is None:
        return ""
    (tenths,) = rounded([total.carbon], 1, 1000 * CARBON_SCALE)
    return f"\nCarbon: {_tenths(tenths)}{'+' * (total.no_factor_mj > 0)} kg CO2e\n"


def _hundredths(value: int) -> str:
    return f"{value // 100:,}.{value % 100:02d}"


def _foldable(report: Report) -> int:
    """How many columns of a terminal the names can give up by folding."""
    rows = [_name_columns(report), *(_names(report, row) for row in report.rows)]
    longest = (max(map(cell_len, column)) for column in zip(*rows, strict=True))
    return sum(max(0, length - _NAME_WIDTH) for length in longest)


def _column(name: str, report: Report) -> list[str]:
    """One column's figures, which add up to the figure below them."""
    total = _rounded(name, report.total.amounts)
    parts = [_exact(name, row.amounts) for row in report.rows]
    if total is None:
        return [UNKNOWN] * len(parts)
    shares = largest_remainder(total, [part or Fraction(0) for part in parts])
    return [UNKNOWN if part is None else _tenths(share) for part, share in zip(parts, shares, strict=True)]


def _exact(name: str, amounts: Amounts) -> Fraction | None:
    """An amount in tenths of the printed unit; None where it is unknown."""
    value: int | None = getattr(amounts, name)
    unit = _MJ_PER_KWH if name == "energy_mj" else _US_PER_HOUR
    return None if value is None else Fraction(value * _TENTHS, unit)


def _rounded(name: str, amounts: Amounts) -> int | None:
    exact = _exact(name, amounts)
    return None if exact is None else int(exact + Fraction(1, 2))


def _tenths(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value // _TENTHS:,}.{value % _TENTHS}"


def _coverage(amounts: Amounts) -> str:
    """Rounded down: 100 % is printed only where nothing at all is unobserved."""
    if amounts.coverage is None:
        return UNKNOWN
    observed = amounts.capacity_us - amounts.unobserved_us
    permille = observed * 1000 // amounts.capacity_us
    return f"{permille // 10}.{permille % 10}%"


def _drawn(table: Table, width: int | None, foldable: int) -> str:
    """The table as text: as wide as it needs to be, or folded to the terminal's width as far as names can be."""
    needed = Measurement.get(Console(width=_WIDEST), Console(width=_WIDEST).options, table).maximum
    out = io.StringIO()
    console = Console(file=out, width=max(width or needed, needed - foldable), color_system=None)
    console.print(table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def _headed(drawn: str, headings: Sequence[str]) -> str:
    """The table with whole words over its columns: a word that finds no room beside another goes a line higher, so that
    the columns stay as narrow as their figures. Where they end, the total's figures say."""
    names, *body = drawn.splitlines()
    ends = [figure.end() for figure in re.finditer(r"\S+", body[-1])][-len(headings) :]
    lines = [names]
    for heading, end in zip(headings, ends, strict=True):
        start = max(0, end - len(heading))
        at = next((i for i, line in enumerate(lines) if not line or cell_len(line) < start), len(lines))
        lines[at:] = [(lines[at] if at < len(lines) else "").ljust(start) + heading, *lines[at + 1 :]]
    return "\n".join([*reversed(lines), *body]) + "\n"
