"""`gputally teams` and `gputally budgets`: mapping files, what they come to, and budgets."""

import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy import Connection, select

from gputally.accounting.ledger_hour import from_us, hour_start
from gputally.accounting.states import OwnerKind
from gputally.collector.budgets import Budget, Unit, budgets_of, parse_budgets, read_budgets
from gputally.collector.cli.database import DatabaseUrl, Timezone, fail, instant_of, ledger, settings_of
from gputally.collector.cli.files import AsOf, File, keep, now_us, print_history, print_table, read_file, refuse
from gputally.collector.database.engine import reading
from gputally.collector.database.schema import namespace_total
from gputally.collector.files.applied import Kind
from gputally.collector.files.yaml_file import FileMistakes
from gputally.collector.rates.card import exact
from gputally.collector.settings import ReadSettings
from gputally.collector.teams import parse_mapping, read_teams

teams = typer.Typer(help="Teams: whose a namespace is, and since when.", no_args_is_help=True, rich_markup_mode=None)
budgets = typer.Typer(help="Budgets of namespaces and teams.", no_args_is_help=True, rich_markup_mode=None)


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


@budgets.command("check")
def check_budgets(file: File) -> None:
    """Say everything that is wrong with a file of budgets, by line; status 2 where there is anything."""
    try:
        found = parse_budgets(read_file(file))
    except FileMistakes as mistakes:
        refuse(file, mistakes)
    sys.stdout.write(f"{file}: {len(found)} budgets, nothing wrong\n")


@budgets.command("apply")
def apply_budgets(file: File, database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Keep a file of budgets as the newest version."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    content = read_file(file)
    try:
        parse_budgets(content)
    except FileMistakes as mistakes:
        refuse(file, mistakes)
    with ledger(settings) as engine:
        keep(engine, Kind.BUDGETS, content, settings.zone)


@budgets.command("history")
def budgets_history(database_url: DatabaseUrl = None, timezone: Timezone = None) -> None:
    """Every file of budgets that was applied: when, by whom, and its hash."""
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    with ledger(settings) as engine:
        print_history(engine, Kind.BUDGETS, settings.zone)


@budgets.command("show")
def show_budgets(
    month: Annotated[str | None, typer.Option(help="Which month. Default: this one.", metavar="YYYY-MM")] = None,
    as_of: AsOf = None,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """The budgets of a month."""
    mistakes: list[str] = []
    settings = settings_of(ReadSettings, database_url=database_url, timezone=timezone)
    as_of_us = instant_of("--as-of", as_of, mistakes)
    asked = _month(month, from_us(now_us()).astimezone(settings.zone), mistakes)
    if mistakes:
        fail(2, mistakes)
    with ledger(settings) as engine, reading(engine) as connection:
        found = budgets_of(read_budgets(connection, as_of_us), asked)
    _print_budgets(found, asked)


def _print_budgets(found: Iterable[Budget], month: tuple[int, int]) -> None:
    units = {Unit.GPU_HOURS: "GPU-hours", Unit.MONEY: "money"}
    rows = [
        (one.scope, one.name, one.cluster or "all", exact(one.value), units[one.unit], one.note)
        for one in sorted(found, key=lambda one: one.key)
    ]
    if not rows:
        sys.stdout.write(f"There is no budget for {month[0]}-{month[1]:02d}.\n")
        return
    print_table(("of", "name", "cluster", "budget", "in", "note"), rows)


def _month(text: str | None, now: datetime, mistakes: list[str]) -> tuple[int, int]:
    if text is None:
        return now.year, now.month
    try:
        asked = datetime.strptime(text, "%Y-%m")  # noqa: DTZ007 - a month is the same in every zone
    except ValueError:
        mistakes.append(f"--month {text}: expected YYYY-MM, such as 2026-11")
        return now.year, now.month
    return asked.year, asked.month


def _booked(connection: Connection) -> list[tuple[str, str]]:
    """The namespaces for which time was booked, whether or not their cluster is watched."""
    columns = (namespace_total.c.cluster, namespace_total.c.namespace)
    query = select(*columns).where(namespace_total.c.owner_kind == OwnerKind.POD.value).distinct()
    return [(cluster, namespace) for cluster, namespace in connection.execute(query)]
