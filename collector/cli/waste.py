"""`gputally waste`: what kinds of waste idle time is, the dearest first."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from gputally.collector.allocation.filter import EVERYTHING, Filter, FilterError, parse_filter
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import PeriodError, instant, parse_period
from gputally.collector.allocation.query import Query, QueryError
from gputally.collector.api import waste_rows
from gputally.collector.cli.database import DatabaseUrl, Timezone, choice, fail, ledger, settings_of
from gputally.collector.cli.files import print_table
from gputally.collector.cli.jobs import AsFormat, Format, From, Month, To
from gputally.collector.database.engine import reading
from gputally.collector.ledger.postings import catch_up
from gputally.collector.settings import ReadSettings
from gputally.collector.waste import printed
from gputally.collector.waste.lenses import Lens, Lenses, read_lenses
from gputally.collector.waste.read import KEYS, Waste, read_waste


def waste(
    by: Annotated[
        list[str] | None,
        typer.Option(help="What to group by, more than once if need be. Default: workload.", metavar="|".join(KEYS)),
    ] = None,
    month: Month = None,
    start: From = None,
    end: To = None,
    only: Annotated[
        str, typer.Option("--filter", help="Which time counts, in the API's language.", metavar='KEY:"VALUE"')
    ] = "",
    form: AsFormat = Format.TABLE.value,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """What kinds of waste idle time is: five that sum to it, in GPU-hours and money, the dearest first.

    Without a period: this month so far. Below stand the five kinds of the whole, and what cuts across used and idle
    time: failed attempts, and ranks that stayed behind their gang.

    Examples:

        gputally waste

        gputally waste --by team --month 2026-11 --format json

        gputally waste --by pod --filter 'namespace:"search"'
    """
    mistakes: list[str] = []
    keys = [choice("--by", text, By, mistakes) for text in by or [By.WORKLOAD.value]]
    as_format = choice("--format", form, Format, mistakes)
    settings = settings_of(ReadSettings, mistakes, database_url=database_url, timezone=timezone)
    query = _query(settings, mistakes, (month, start, end), keys, only)
    found, lenses = _read(settings, query)
    if as_format is Format.JSON:
        sys.stdout.write(_json(found, lenses))
    else:
        _print(found, lenses)


def _query(
    settings: ReadSettings,
    mistakes: list[str],
    asked: tuple[str | None, str | None, str | None],
    keys: Sequence[By],
    only: str,
) -> Query:
    """The question; ends the command with every mistake."""
    where: Filter = EVERYTHING
    try:
        where = parse_filter(only)
    except FilterError as error:
        mistakes.append(f"--filter {error}")
    try:
        period = parse_period(*asked, settings.zone, time.time_ns() // 1000)
    except PeriodError as error:
        fail(2, [*mistakes, *error.mistakes])
    if mistakes:
        fail(2, mistakes)
    return Query(period, settings.zone, tuple(keys), where=where)


def _read(settings: ReadSettings, query: Query) -> tuple[Waste, Lenses]:
    """What there is, after what arrived was settled."""
    with ledger(settings) as engine:
        catch_up(engine, settings.zone)
        try:
            with reading(engine) as connection:
                return read_waste(connection, settings.zone, query), read_lenses(connection, settings.zone, query)
        except QueryError as error:
            fail(2, [str(error)])


def _print(found: Waste, lenses: Lenses) -> None:
    if not found.rows:
        sys.stdout.write("No idle time of a pod is booked.\n")
        return
    print_table(*printed.owners(found))
    sys.stdout.write("\n")
    print_table(*printed.kinds(found))
    if lenses.rows:
        sys.stdout.write("\n")
        print_table(*printed.lenses(lenses, found.currency))
    sys.stdout.write(printed.missing(lenses))
    if any(one.provisional_us for one in found.total.values()):
        sys.stdout.write(f"\n{printed.NOTE}\n")


def _json(found: Waste, lenses: Lenses) -> str:
    """The fields of GET /api/v1/waste."""
    query = found.query
    document = {
        "from": instant(query.period.start_us, query.zone),
        "to": instant(query.period.end_us, query.zone),
        "timezone": query.zone.key,
        "currency": found.currency or None,
        "by": [key.value for key in query.keys],
        "kinds": [each.model_dump() for each in waste_rows.kinds(found)],
        "rows": [each.model_dump() for each in waste_rows.rows(found)],
        "lenses": [each.model_dump() for each in waste_rows.lenses(lenses)],
        "unknown_lenses": dict(lenses.unknown),
        "all_ranks": Lens.STRAGGLING not in lenses.unknown,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
