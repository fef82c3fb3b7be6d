"""`gputally budgets`: files of budgets, what is spent of them, and where the month will end."""

import sys
from collections.abc import Sequence
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection

from gputally.collector.allocation.period import PeriodError, parse_period
from gputally.collector.allocation.query import WHOLE
from gputally.collector.allocation.steps import local_date
from gputally.collector.budgets import Unit, parse_budgets
from gputally.collector.burn import Burn, burns
from gputally.collector.cli.database import DatabaseUrl, Timezone, fail, instant_of, ledger, settings_of
from gputally.collector.cli.files import AsOf, File, keep, now_us, print_history, print_table, read_file, refuse
from gputally.collector.database.engine import reading
from gputally.collector.exports.printed import UNPRICED
from gputally.collector.files.applied import Kind, current
from gputally.collector.files.yaml_file import FileMistakes
from gputally.collector.ledger.postings import catch_up
from gputally.collector.rates.cost import rounded
from gputally.collector.rates.parse import parse_card
from gputally.collector.render import UNKNOWN
from gputally.collector.settings import ReadSettings

app = typer.Typer(help="Budgets of namespaces and teams.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(file: File) -> None:
    """Say everything that is wrong with a file of budgets, by line; status 2 where there is anything."""
    try:
        found = parse_budgets(read_file(file))
    except FileMistakes as mistakes:
        refuse(file, mistakes)
    sys.stdout.write(f"{file}: {len(found)} budgets, nothing wrong\n")


@app.command()
def apply(file: File, database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Keep a file of budgets as the newest version."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    content = read_file(file)
    try:
        parse_budgets(content)
    except FileMistakes as mistakes:
        refuse(file, mistakes)
    with ledger(settings) as engine:
        keep(engine, Kind.BUDGETS, content, settings.zone)


@app.command()
def history(database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Every file of budgets that was applied: when, by whom, and its hash."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    with ledger(settings) as engine:
        print_history(engine, Kind.BUDGETS, settings.zone)


@app.command()
def show(
    month: Annotated[str | None, typer.Option(help="Which month. Default: this one.", metavar="YYYY-MM")] = None,
    as_of: AsOf = None,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """The budgets of a month: what is spent, and where it will end if its days go on as they did."""
    mistakes: list[str] = []
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    as_of_us, now = instant_of("--as-of", as_of, mistakes), now_us()
    try:
        period = parse_period(month, None, None, settings.zone, now)
    except PeriodError as error:
        fail(2, [*mistakes, *error.mistakes])
    if mistakes:
        fail(2, mistakes)
    with ledger(settings) as engine:
        catch_up(engine, settings.zone)
        with reading(engine) as connection:
            found = burns(connection, settings.zone, period, now, WHOLE, as_of_us)
            currency = _currency(connection, settings.zone, as_of_us)
    if not found:
        sys.stdout.write(f"There is no budget for {local_date(period.start_us, settings.zone):%Y-%m}.\n")
        return
    _print(found, currency)


def _currency(connection: Connection, zone: ZoneInfo, as_of_us: int | None) -> str:
    """The rate card's currency; money in general where there is no card."""
    card = current(connection, Kind.RATES, as_of_us)
    return "money" if card is None else parse_card(card.content, zone).currency


def _print(found: Sequence[Burn], currency: str) -> None:
    units = {Unit.GPU_HOURS: "GPU-hours", Unit.MONEY: currency}
    rows = [
        (
            of.budget.scope,
            of.budget.name,
            of.budget.cluster or "all",
            units[of.budget.unit],
            _figure(of.limit),
            _spent(of),
            _percent(of),
            _forecast(of),
            of.standing,
            of.budget.note,
        )
        for of in found
    ]
    print_table(("of", "name", "cluster", "in", "budget", "spent", "", "month's end", "standing", "note"), rows)
    if any(of.unpriced_us and of.spent is not None for of in found):
        sys.stdout.write("\n+ some of the time has no price, and is in no amount of money\n")


def _spent(of: Burn) -> str:
    """A sum that leaves time without a price out is marked; one that leaves out all of it is none."""
    return UNPRICED if of.spent is None else _figure(of.spent) + "+" * bool(of.unpriced_us)


def _percent(of: Burn) -> str:
    """Rounded down: 100 % is spent only where all of it is."""
    return UNKNOWN if of.spent is None or not of.limit else f"{of.spent * 100 // of.limit}%"


def _forecast(of: Burn) -> str:
    """What is expected, and the range; unknown before the first day is over."""
    if of.forecast is None:
        return UNKNOWN
    expected, low, high = map(_figure, (of.forecast.expected, of.forecast.low, of.forecast.high))
    return expected if low == high else f"{expected} ({low} to {high})"


def _figure(amount: int) -> str:
    """GPU-hours or money, with two decimals."""
    (hundredths,) = rounded([amount], 2)
    return f"{hundredths // 100:,}.{hundredths % 100:02d}"
