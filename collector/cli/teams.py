"""`gputally teams`: mapping files, and what they come to."""

import sys
from typing import Annotated

import typer
from sqlalchemy import Connection, select

from gputally.accounting.ledger_hour import hour_start
from gputally.accounting.states import OwnerKind
from gputally.collector.cli.database import DatabaseUrl, Timezone, fail, instant_of, ledger, settings_of
from gputally.collector.cli.files import AsOf, File, keep, now_us, print_history, print_table, read_file, refuse
from gputally.collector.database.engine import reading
from gputally.collector.database.schema import namespace_total
from gputally.collector.files.applied import Kind
from gputally.collector.files.yaml_file import FileMistakes
from gputally.collector.settings import ReadSettings
from gputally.collector.teams import parse_mapping, read_teams

teams = typer.Typer(help="Teams: whose a namespace is, and since when.", no_args_is_help=True, rich_markup_mode=None)


@teams.command("check")
def check_teams(file: File, timezone: Timezone = None) -> None:
    """Say everything that is wrong with a mapping file, by line; status 2 where there is anything."""
    zone = settings_of(ReadSettings, timezone=timezone).zone
    try:
        mapping = parse_mapping(read_file(file), zone)
    except FileMistakes as mistakes:
        refuse(file, mistakes)
    sys.stdout.write(f"{file}: {len(mapping.entries)} entries, nothing wrong\n")


@teams.command("apply")
def apply_teams(file: File, database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Keep a mapping file as the newest version, which holds for every month that is open."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    content = read_file(file)
    try:
        parse_mapping(content, settings.zone)
    except FileMistakes as mistakes:
        refuse(file, mistakes)
    with ledger(settings) as engine:
        keep(engine, Kind.TEAMS, content, settings.zone)


@teams.command("history")
def teams_history(database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Every mapping file that was applied: when, by whom, and its hash."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    with ledger(settings) as engine:
        print_history(engine, Kind.TEAMS, settings.zone)


@teams.command("show")
def show_teams(
    at: Annotated[str | None, typer.Option(help="When. Default: now.", metavar="INSTANT")] = None,
    as_of: AsOf = None,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """Whose each namespace is, and what says so."""
    mistakes: list[str] = []
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    at_us, as_of_us = instant_of("--at", at, mistakes), instant_of("--as-of", as_of, mistakes)
    if mistakes:
        fail(2, mistakes)
    hour_us = hour_start(now_us() if at_us is None else at_us, settings.zone)
    with ledger(settings) as engine, reading(engine) as connection:
        book = read_teams(connection, settings.zone, as_of_us)
        names = sorted({*book.namespaces, *_booked(connection)})
    found = [(*name, book.at(*name, hour_us)) for name in names]
    rows = [(cluster, name, of.team or "-", of.cost_center or "-", of.source) for cluster, name, of in found]
    if not rows:
        sys.stdout.write("No namespace is known yet.\n")
        return
    print_table(("cluster", "namespace", "team", "cost centre", "why"), rows)


def _booked(connection: Connection) -> list[tuple[str, str]]:
    """The namespaces for which time was booked, whether or not their cluster is watched."""
    columns = (namespace_total.c.cluster, namespace_total.c.namespace)
    query = select(*columns).where(namespace_total.c.owner_kind == OwnerKind.POD.value).distinct()
    return [(cluster, namespace) for cluster, namespace in connection.execute(query)]
