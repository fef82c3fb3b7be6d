"""`gputally queues`: what queues had and used in a period, and what lay idle or unused."""

import json
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import typer

from gputally.collector.allocation.period import Period, PeriodError, instant, parse_period
from gputally.collector.allocation.query import WHOLE, QueryError
from gputally.collector.cli.database import DatabaseUrl, Timezone, choice, fail, ledger, settings_of
from gputally.collector.cli.files import now_us, print_table
from gputally.collector.database.engine import reading
from gputally.collector.ledger.postings import catch_up
from gputally.collector.queues.record import record
from gputally.collector.queues.use import QueueUse, read_use
from gputally.collector.render import UNKNOWN
from gputally.collector.settings import ReadSettings
from gputally.collector.statement import rounding


class Format(StrEnum):
    """How it can be printed."""

    TABLE = "table"
    JSON = "json"


_COLUMNS: dict[str, Callable[[QueueUse], int | None]] = {
    "quota": lambda use: use.quota_us,
    "reserved": lambda use: use.reserved_us,
    "used": lambda use: use.used_us,
    "idle": lambda use: use.idle_us,
    "borrowed": lambda use: use.borrowed_us,
    "unused": lambda use: use.unused_us,
}


def queues(
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
    month: Annotated[str | None, typer.Option(help="A month of the billing time zone.", metavar="YYYY-MM")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Where it begins: RFC 3339, on a ledger hour.", metavar="INSTANT")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Where it ends (not included), likewise.", metavar="INSTANT")
    ] = None,
    format: Annotated[  # noqa: A002 - the flag's name
        str, typer.Option(help="How to print it.", metavar="|".join(Format))
    ] = Format.TABLE.value,
) -> None:
    """Quota and use of Kueue's and Volcano's queues, in GPU-hours: reserved, used, idle, borrowed, unused.

    Without a period: this month so far. Quota counts up to now.

    Examples:

        gputally queues

        gputally queues --month 2026-11 --format json
    """
    mistakes: list[str] = []
    form = choice("--format", format, Format, mistakes)
    settings = settings_of(ReadSettings, mistakes, database_url=database_url, timezone=timezone)
    now = now_us()
    try:
        period = parse_period(month, start, end, settings.zone, now)
    except PeriodError as error:
        fail(2, [*mistakes, *error.mistakes])
    if mistakes:
        fail(2, mistakes)
    found = _read(settings, period, now)
    if form is Format.JSON:
        sys.stdout.write(_as_json(found, period, settings))
    else:
        _print(found)


def _read(settings: ReadSettings, period: Period, now: int) -> Sequence[QueueUse]:
    with ledger(settings) as engine:
        catch_up(engine, settings.zone)
        try:
            with reading(engine) as connection:
                return read_use(connection, settings.zone, period, now, WHOLE)
        except QueryError as error:
            fail(2, [str(error)])


def _as_json(found: Sequence[QueueUse], period: Period, settings: ReadSettings) -> str:
    edges = {name: instant(us, settings.zone) for name, us in (("from", period.start_us), ("to", period.end_us))}
    return json.dumps({**edges, "rows": [record(use) for use in found]}, indent=2, ensure_ascii=False) + "\n"


def _print(found: Sequence[QueueUse]) -> None:
    if not found:
        sys.stdout.write("There is no queue, and no pod reserved a GPU.\n")
        return
    columns = [_hours([of(use) for use in found]) for of in _COLUMNS.values()]
    rows = [(*_names(use), *cells) for use, *cells in zip(found, *columns, strict=True)]
    print_table(("cluster", "of", "queue", "cohort", *_COLUMNS), rows)
    if any(use.claimed_us for use in found if use.key.queue):
        sys.stdout.write("\n* some of the time is in this queue by what pods say alone\n")


def _names(use: QueueUse) -> tuple[str, ...]:
    key = use.key
    if not key.queue:
        return key.cluster, "", "(none)", ""
    return key.cluster, key.system or UNKNOWN, key.queue + "*" * bool(use.claimed_us), use.cohort or ""


def _hours(values: Sequence[int | None]) -> list[str]:
    """GPU-hours of a column, which add up."""
    known = iter(rounding.hours([value for value in values if value is not None], 1))
    return [UNKNOWN if value is None else f"{Decimal(next(known)):,}" for value in values]
