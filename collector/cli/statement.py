"""`gputally statement`: what a month comes to; closing it; what changed since."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Engine

from gputally.collector.allocation.period import PeriodError, instant
from gputally.collector.allocation.query import QueryError, Spread
from gputally.collector.cli.database import DatabaseUrl, Timezone, choice, fail, ledger, settings_of
from gputally.collector.cli.files import now_us, print_table
from gputally.collector.database.engine import reading
from gputally.collector.exports.printed import UNKNOWN, UNPRICED
from gputally.collector.exports.statement_csv import as_csv
from gputally.collector.exports.statement_html import as_html
from gputally.collector.exports.statement_table import as_table
from gputally.collector.files.applied import whoami
from gputally.collector.rates.cost import rounded
from gputally.collector.settings import ReadSettings
from gputally.collector.statement.close import Allowance, NotClosed, Request, Unbalanced, close_month
from gputally.collector.statement.line import Line
from gputally.collector.statement.month import Month, parse_month
from gputally.collector.statement.read import Found, Tampered, read_differences, read_statement
from gputally.collector.statement.register import ZoneChanged, closed_months
from gputally.collector.statement.rounding import fixed, hours
from gputally.collector.statement.view import View, Who

app = typer.Typer(help="Statements: what a month comes to, for whom; closing it.", no_args_is_help=True)


class Format(StrEnum):
    """How a statement can be printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


MonthName = Annotated[str, typer.Argument(metavar="MONTH", help="A month of the billing time zone: YYYY-MM.")]


@app.command()
def show(
    month: MonthName,
    namespace: Annotated[str | None, typer.Option(help="Only this namespace's part.", metavar="NAME")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's part.", metavar="NAME")] = None,
    spread: Annotated[
        str,
        typer.Option(help="Show the platform's cost over namespaces; it books nothing.", metavar="|".join(Spread)),
    ] = Spread.NONE.value,
    format: Annotated[  # noqa: A002 - the flag's name
        str, typer.Option(help="How to print it.", metavar="|".join(Format))
    ] = Format.TABLE.value,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """What a month comes to: as it was closed, or as it stands now."""
    mistakes: list[str] = []
    form, how = choice("--format", format, Format, mistakes), choice("--spread", spread, Spread, mistakes)
    settings, asked = asked_month(month, database_url, timezone, mistakes)
    with ledger(settings) as engine, told():
        found = read_statement(engine, settings.zone, asked, how)
    view = View(found.statement, Who(namespace, team), how, found.stakes)
    sys.stdout.write(_printed(found, view, form))


@app.command()
def close(
    month: MonthName,
    allow_unpriced: Annotated[
        bool, typer.Option("--allow-unpriced", help="Close it although some time has no price; recorded.")
    ] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="Close it although hours wait to be recomputed; recorded.")
    ] = False,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """Freeze a month that is over, for ever. What arrives later corrects it in the next month."""
    settings, asked = asked_month(month, database_url, timezone, [])
    wanted = ((Allowance.UNPRICED, allow_unpriced), (Allowance.DIRTY, allow_dirty))
    request = Request(asked, whoami(), now_us(), [kind for kind, given in wanted if given])
    with ledger(settings) as engine, told():
        closed = close_month(engine, settings.zone, request)
    sys.stdout.write(f"{closed.month} is closed: {closed.content_hash}\n")


@app.command("list")
def list_closed(database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Every closed month: when, by whom, and its hash, which is the SHA-256 of its JSON."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    with ledger(settings) as engine, reading(engine) as connection:
        found = closed_months(connection)
    if not found:
        sys.stdout.write("No month is closed yet.\n")
        return
    rows = [(one.month, instant(one.closed_us, settings.zone), one.closed_by, one.content_hash) for one in found]
    print_table(("month", "closed", "by", "hash"), rows)


@app.command()
def diff(month: MonthName, database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """What the ledger says of a closed month beyond what was billed; also whether what was frozen is intact."""
    settings, asked = asked_month(month, database_url, timezone, [])
    with ledger(settings) as engine, told():
        found, lines = _differences(engine, settings.zone, asked)
    intact = f"{month}: {found.statement.closing.lines if found.statement.closing else 0} frozen lines, intact"
    if not lines:
        sys.stdout.write(f"{intact}; the ledger says the same\n")
        return
    sys.stdout.write(f"{intact}; {len(lines)} postings differ and are corrections of the next month that is open\n\n")
    _print_differences(lines, found.statement.digits, settings.zone)


def asked_month(
    month: str, database_url: str | None, timezone: str | None, mistakes: list[str]
) -> tuple[ReadSettings, Month]:
    """The settings and the month of a command; ends it with every mistake."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    try:
        asked = parse_month(month, settings.zone)
    except PeriodError as error:
        fail(2, [*mistakes, *error.mistakes])
    if mistakes:
        fail(2, mistakes)
    return settings, asked


@contextmanager
def told() -> Iterator[None]:
    """End the command with what keeps a statement from being read or closed."""
    try:
        yield
    except NotClosed as error:
        fail(1, error.reasons)
    except (Tampered, Unbalanced) as error:
        fail(1, [str(error)])
    except (ZoneChanged, QueryError) as error:
        fail(2, [str(error)])


def _printed(found: Found, view: View, form: Format) -> str:
    if form is Format.JSON:
        return found.json(view)
    if form is Format.CSV:
        return as_csv(view)
    if form is Format.HTML:
        return as_html(view, found.content_hash)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return as_table(view, found.content_hash, width)


def _differences(engine: Engine, zone: ZoneInfo, month: Month) -> tuple[Found, list[Line]]:
    try:
        return read_differences(engine, zone, month)
    except LookupError as error:
        fail(1, [str(error)])


def _print_differences(lines: Sequence[Line], digits: int, zone: ZoneInfo) -> None:
    known = iter(rounded([line.cost for line in lines if line.cost is not None], digits))
    times = hours([line.amounts.capacity_us for line in lines], 3)
    rows = []
    for line, text in zip(lines, times, strict=True):
        of = line.holding
        amount = UNPRICED if line.cost is None else fixed(next(known), digits)
        who = (of.namespace or f"({of.kind})", of.pod or UNKNOWN, of.node, of.uuid)
        rows.append((instant(line.hour_us, zone), *who, text, amount))
    print_table(("hour", "namespace", "pod", "node", "device", "GPU-hours", "amount"), rows)
