"""`gputally workloads list` and `gputally workloads job`: one job, one row, and what it is made of."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection

from gputally.collector.allocation.allocation import Allocation
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import PeriodError, instant, parse_period
from gputally.collector.allocation.query import Query, QueryError
from gputally.collector.api import figures, workload_rows
from gputally.collector.cli.database import DatabaseUrl, Timezone, choice, fail, ledger, settings_of
from gputally.collector.cli.files import print_table
from gputally.collector.database.engine import reading
from gputally.collector.jobs.drill import Drilled, of_workload, read_job
from gputally.collector.jobs.job import Job, Jobs, read_jobs
from gputally.collector.jobs.order import Sort, ordered
from gputally.collector.jobs.printed import attempts, pods, story, workloads
from gputally.collector.ledger.postings import catch_up
from gputally.collector.settings import ReadSettings

Answer = TypeVar("Answer")


class Format(StrEnum):
    """How it is printed."""

    TABLE = "table"
    JSON = "json"


Month = Annotated[
    str | None, typer.Option(help="A month of the billing time zone. Default: this one.", metavar="YYYY-MM")
]
From = Annotated[
    str | None, typer.Option("--from", help="Where it begins: RFC 3339, on a ledger hour.", metavar="INSTANT")
]
To = Annotated[str | None, typer.Option("--to", help="Where it ends (not included), likewise.", metavar="INSTANT")]
AsFormat = Annotated[str, typer.Option("--format", help="How to print it.", metavar="|".join(Format))]


def list_(
    namespace: Annotated[str | None, typer.Option(help="Only there. Default: everywhere.", metavar="NAME")] = None,
    month: Month = None,
    start: From = None,
    end: To = None,
    sort: Annotated[str, typer.Option(help="What comes first.", metavar="|".join(Sort))] = Sort.IDLE_COST.value,
    form: AsFormat = Format.TABLE.value,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """One job, one row: what its pods held, used and cost in a period, when it began and ended, and how.

    Without a period: this month so far. The dearest idle time comes first.
    """
    mistakes: list[str] = []
    order, as_format = choice("--sort", sort, Sort, mistakes), choice("--format", form, Format, mistakes)
    settings = settings_of(ReadSettings, mistakes, database_url=database_url, timezone=timezone)
    where = Filter() if namespace is None else Filter((Clause(By.NAMESPACE, Operator.IS, (namespace,)),))
    query = _query(settings, mistakes, (month, start, end), where)
    found = _read(settings, lambda connection: read_jobs(connection, settings.zone, query))
    _print_list(ordered(found.jobs, order), found, query, as_format)


def job(
    name: Annotated[str, typer.Argument(help="A workload as reports name it.", metavar="NAMESPACE/KIND/NAME")],
    month: Month = None,
    start: From = None,
    end: To = None,
    form: AsFormat = Format.TABLE.value,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """What one workload is made of: its attempts, and their pods. JSON tells the devices of each, too.

    Example:

        gputally workloads job search/pytorchjob.kubeflow/bert
    """
    mistakes: list[str] = []
    as_format = choice("--format", form, Format, mistakes)
    namespace, slash, label = name.partition("/")
    if not slash or "/" not in label:
        mistakes.append(f"{name}: expected NAMESPACE/KIND/NAME, such as search/pytorchjob.kubeflow/bert")
    settings = settings_of(ReadSettings, mistakes, database_url=database_url, timezone=timezone)
    query = of_workload(_query(settings, mistakes, (month, start, end), Filter()), namespace, label)
    found, whole = _read(settings, lambda connection: read_job(connection, settings.zone, query))
    if not found:
        fail(1, [f"{name}: no GPU time of such a workload is booked there; gputally workloads list says of which"])
    _print_job(found, whole, query, as_format)


def _query(
    settings: ReadSettings, mistakes: Sequence[str], asked: tuple[str | None, str | None, str | None], where: Filter
) -> Query:
    """The question; ends the command with every mistake."""
    try:
        period = parse_period(*asked, settings.zone, time.time_ns() // 1000)
    except PeriodError as error:
        fail(2, [*mistakes, *error.mistakes])
    if mistakes:
        fail(2, mistakes)
    return Query(period, settings.zone, where=where)


def _read(settings: ReadSettings, question: Callable[[Connection], Answer]) -> Answer:
    """What a question finds, after what arrived was settled."""
    with ledger(settings) as engine:
        catch_up(engine, settings.zone)
        try:
            with reading(engine) as connection:
                return question(connection)
        except QueryError as error:
            fail(2, [str(error)])


def _print_list(jobs: Sequence[Job], found: Jobs, query: Query, form: Format) -> None:
    if form is Format.JSON:
        rows = [row.model_dump() for row in workload_rows.rows(jobs, query)]
        _print_json(query, found.allocation, {"total": figures.total(found.allocation).model_dump(), "rows": rows})
    elif jobs:
        print_table(*workloads(jobs, found.allocation.currency, query.zone))
    else:
        sys.stdout.write("No GPU time of a pod is booked.\n")


def _print_job(found: Sequence[Drilled], whole: Allocation, query: Query, form: Format) -> None:
    if form is Format.JSON:
        rows = [workload_rows.detail(one, query).model_dump() for one in found]
        _print_json(query, whole, {"rows": rows})
        return
    for one in found:
        sys.stdout.write(_told(one, query.zone))
        sys.stdout.write("\n")
        if one.attempts:
            print_table(*attempts(one, whole.currency, query.zone))
            sys.stdout.write("\n")
        print_table(*pods(one, whole.currency, query.zone))


def _told(one: Drilled, zone: ZoneInfo) -> str:
    """What is known of the whole, a line each."""
    named = f"{one.job.name.namespace}/{one.job.name.label} in {one.job.name.cluster}\n"
    return named + "".join(f"  {name:<10}{text}\n" for name, text in story(one.job, zone))


def _print_json(query: Query, whole: Allocation, rest: dict[str, Any]) -> None:
    document = {
        "from": instant(query.period.start_us, query.zone),
        "to": instant(query.period.end_us, query.zone),
        "timezone": query.zone.key,
        "currency": whole.currency or None,
        **rest,
    }
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
