"""`gputally advise`: what somebody could change, in facts with their numbers."""

import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated

import typer

from gputally.collector.advice.advice import Advice, Kind
from gputally.collector.advice.read import AdviceQuery, Advised, read_advice
from gputally.collector.advice.words import says, who
from gputally.collector.allocation.filter import EVERYTHING, Filter, FilterError, parse_filter
from gputally.collector.allocation.period import instant
from gputally.collector.allocation.query import QueryError
from gputally.collector.api import advice_rows
from gputally.collector.cli.database import DatabaseUrl, Timezone, choice, fail, ledger, settings_of
from gputally.collector.cli.files import now_us, print_table
from gputally.collector.cli.jobs import AsFormat, Format
from gputally.collector.database.engine import reading
from gputally.collector.ledger.postings import catch_up
from gputally.collector.rates.cost import rounded
from gputally.collector.render import UNKNOWN
from gputally.collector.settings import ReadSettings
from gputally.collector.statement import rounding
from gputally.collector.statement.currency import decimals


def advise(
    namespace: Annotated[str | None, typer.Option(help="Only there. Default: everywhere.", metavar="NAME")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Which kind, more than once if need be. Default: all.", metavar="|".join(Kind)),
    ] = None,
    only: Annotated[str, typer.Option("--filter", help="Of whom, in the API's language.", metavar='KEY:"VALUE"')] = "",
    form: AsFormat = Format.TABLE.value,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """What could be changed, in facts: unused GPUs, GPUs that a MIG profile would do for, idle notebooks and services.

    Time and cost are of the last seven days, the dearest first. Rows may be about the same time: do not add them up.
    Nothing is ever done about any of it, and the command ends with 0 whatever there is to say.

    Examples:

        gputally advise

        gputally advise --namespace search --format json

        gputally advise --kind idle-notebook --filter 'team:"vision"'
    """
    mistakes: list[str] = []
    kinds = tuple(choice("--kind", text, Kind, mistakes) for text in kind or ())
    as_format = choice("--format", form, Format, mistakes)
    settings = settings_of(ReadSettings, mistakes, database_url=database_url, timezone=timezone)
    where = _filter(only, mistakes)
    if mistakes:
        fail(2, mistakes)
    found = _read(settings, AdviceQuery(now_us(), namespace=namespace, where=where, kinds=kinds))
    if as_format is Format.JSON:
        sys.stdout.write(_json(found, settings))
    else:
        _print(found, settings)


def _filter(text: str, mistakes: list[str]) -> Filter:
    try:
        return parse_filter(text)
    except FilterError as error:
        mistakes.append(f"--filter {error}")
        return EVERYTHING


def _read(settings: ReadSettings, query: AdviceQuery) -> Advised:
    """What there is, after what arrived was settled."""
    with ledger(settings) as engine:
        catch_up(engine, settings.zone)
        try:
            with reading(engine) as connection:
                return read_advice(connection, settings.zone, query)
        except QueryError as error:
            fail(2, [str(error)])


def _json(found: Advised, settings: ReadSettings) -> str:
    """The fields of GET /api/v1/advice."""
    document = {
        "from": instant(found.week.start_us, settings.zone),
        "to": instant(found.week.end_us, settings.zone),
        "timezone": settings.zone.key,
        "currency": found.currency or None,
        "rows": [row.model_dump(mode="json") for row in advice_rows.rows(found, settings.zone)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _print(found: Advised, settings: ReadSettings) -> None:
    if not found.rows:
        sys.stdout.write("There is nothing to advise.\n")
        return
    gpu_hours = rounding.hours([one.spent.us for one in found.rows], 1)
    columns = [
        ["namespace", *(one.subject.namespace for one in found.rows)],
        ["who", *map(who, found.rows)],
        _right("GPU-hours", [f"{Decimal(text):,}" for text in gpu_hours]),
        *([_right(found.currency, _costs(found.rows, found.currency))] if found.currency else []),
        ["in the last seven days", *(says(one, settings.zone) for one in found.rows)],
    ]
    heads, *rows = zip(*columns, strict=True)
    print_table(heads, rows)
    sys.stdout.write("\nRows may be about the same time: do not add them up.\n")


def _costs(rows: Sequence[Advice], currency: str) -> list[str]:
    """A + says that some of the time has no price and is in no cost."""
    digits = decimals(currency)
    found = []
    for spent in (one.spent for one in rows):
        if spent.cost is None:
            found.append(UNKNOWN)
        else:
            found.append(rounding.fixed(rounded([spent.cost], digits)[0], digits) + "+" * (spent.unpriced_us > 0))
    return found


def _right(head: str, texts: Sequence[str]) -> list[str]:
    width = max(len(head), *map(len, texts))
    return [text.rjust(width) for text in (head, *texts)]
