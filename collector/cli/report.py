"""`gputally report`: where the GPU time of a period went."""

import shutil
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from gputally.collector.allocation.period import Period, PeriodError, parse_period
from gputally.collector.allocation.query import QueryError
from gputally.collector.cli.database import DatabaseUrl, Timezone, choice, fail, ledger, settings_of
from gputally.collector.render import Format, render
from gputally.collector.report import By, Report, ZoneMismatch
from gputally.collector.report import report as read_ledger
from gputally.collector.settings import ReadSettings

_BY = "|".join(By)
_FORMATS = "|".join(Format)


def report(
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
    month: Annotated[str | None, typer.Option(help="A month of the billing time zone.", metavar="YYYY-MM")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Where it begins: RFC 3339, on a ledger hour.", metavar="INSTANT")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Where it ends (not included), likewise.", metavar="INSTANT")
    ] = None,
    by: Annotated[list[str] | None, typer.Option(help="What to group by. Default: namespace.", metavar=_BY)] = None,
    format: Annotated[  # noqa: A002 - the flag's name
        str, typer.Option(help="How to print it.", metavar=_FORMATS)
    ] = Format.TABLE.value,
) -> None:
    """Where GPU time went: reserved, used, idle and the rest, in GPU-hours, with energy and coverage.

    Without a period: this month so far. `--by` may be given more than once.

    Examples:

        gputally report

        gputally report --month 2026-11 --by namespace --by model

        gputally report --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z --format json
    """
    mistakes: list[str] = []
    keys = [choice("--by", text, By, mistakes) for text in by or [By.NAMESPACE.value]]
    form = choice("--format", format, Format, mistakes)
    settings = settings_of(ReadSettings, mistakes, database_url=database_url, timezone=timezone)
    period = _period(settings, mistakes, month, start, end)
    found = _read(settings, period, keys)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    sys.stdout.write(render(found, form, width))


def _period(
    settings: ReadSettings, mistakes: Sequence[str], month: str | None, start: str | None, end: str | None
) -> Period:
    """The period that is asked for; ends the command with every mistake."""
    try:
        period = parse_period(month, start, end, settings.zone, time.time_ns() // 1000)
    except PeriodError as error:
        fail(2, [*mistakes, *error.mistakes])
    if mistakes:
        fail(2, mistakes)
    return period


def _read(settings: ReadSettings, period: Period, keys: Sequence[By]) -> Report:
    with ledger(settings) as engine:
        try:
            return read_ledger(engine, settings.zone, period.start_us, period.end_us, keys)
        except (ZoneMismatch, QueryError) as error:
            fail(2, [str(error)])
