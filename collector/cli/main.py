"""`gputally`: read the ledger, migrate it, and what other packages add through the entry points `gputally.commands`."""

import io
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Annotated, NoReturn, TypeVar

import typer
from sqlalchemy import Engine

from gputally.collector.allocation.period import Period, PeriodError, parse_period
from gputally.collector.cli import export, rates, statement, teams
from gputally.collector.database.engine import DATABASE_ERRORS, open_database
from gputally.collector.database.migrate import UnknownRevision, is_current
from gputally.collector.database.migrate import migrate as upgrade
from gputally.collector.render import Format, render
from gputally.collector.report import By, ZoneMismatch
from gputally.collector.report import report as read_ledger
from gputally.collector.settings import (
    DatabaseSettings,
    ReadSettings,
    SettingsError,
    load,
    nearest,
    shown,
    sqlite_file,
)

COMMANDS = "gputally.commands"  # the entry points' group: each names a Typer app

_BY = "|".join(By)
_FORMATS = "|".join(Format)
_REPORT_HELP = """Where GPU time went: reserved, used, idle and the rest, in GPU-hours, with energy and coverage.

Without a period: this month so far. `--by` may be given more than once.

Examples:

    gputally report

    gputally report --month 2026-11 --by namespace --by model

    gputally report --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z --format json
"""

Choice = TypeVar("Choice", bound=StrEnum)
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help=str(DatabaseSettings.model_fields["database_url"].description), metavar="URL"),
]
Timezone = Annotated[
    str | None, typer.Option(help=str(ReadSettings.model_fields["timezone"].description), metavar="NAME")
]

app = typer.Typer(
    name="gputally",
    help="GPU Tally: where every GPU-second went. Settings are also read from the environment (GPUTALLY_…).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


app.add_typer(rates.app, name="rates")
app.add_typer(teams.teams, name="teams")
app.add_typer(teams.budgets, name="budgets")
app.add_typer(statement.app, name="statement")
app.command()(export.export)


def main() -> None:
    """The `gputally` command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 gets a ? for a line, not an error
    _add_commands(sys.argv[1:])
    app()


def _add_commands(argv: Sequence[str]) -> None:
    """Add the commands of other packages: the one that is asked for, or all where none is.

    Each may need more than the collector does, so one that cannot be loaded is an error only when it is asked for.
    """
    asked = argv[0] if argv and not argv[0].startswith("-") else None
    for point in sorted(entry_points(group=COMMANDS), key=lambda point: point.name):
        if asked not in (None, point.name):
            continue
        try:
            app.add_typer(point.load(), name=point.name)
        except ImportError as error:
            if asked:
                sys.exit(f"gputally: {asked} needs what is not installed: {error}")


@app.command(help=_REPORT_HELP)
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
    mistakes: list[str] = []
    keys = [_choice("--by", text, By, mistakes) for text in by or [By.NAMESPACE.value]]
    form = _choice("--format", format, Format, mistakes)
    settings = _settings(ReadSettings, mistakes, database_url=database_url, timezone=timezone)
    period = _period(settings, mistakes, month, start, end)
    if mistakes or settings is None or period is None:
        _fail(2, mistakes)
    _check_exists(settings)
    try:
        with _database(settings) as engine:
            _check_schema(engine, settings)
            found = read_ledger(engine, settings.zone, period.start_us, period.end_us, keys)
    except ZoneMismatch as error:
        _fail(2, [str(error)])
    except DATABASE_ERRORS as error:
        _fail(1, [_unreadable(settings, error)])
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    sys.stdout.write(render(found, form, width))


@app.command()
def migrate(database_url: DatabaseUrl = None) -> None:
    """Make the database, or bring its schema to this version. gputally-collector does the same when it starts."""
    mistakes: list[str] = []
    settings = _settings(DatabaseSettings, mistakes, database_url=database_url)
    if settings is None:
        _fail(2, mistakes)
    try:
        with _database(settings) as engine:
            upgrade(engine)
    except DATABASE_ERRORS as error:
        _fail(1, [_unreadable(settings, error)])
    except (OSError, UnknownRevision) as error:
        _fail(1, [str(error)])
    sys.stdout.write(f"{shown(settings.database_url)} has this version's schema\n")


Settings = TypeVar("Settings", bound=DatabaseSettings)


def _settings(model: type[Settings], mistakes: list[str], **flags: str | None) -> Settings | None:
    try:
        return load(model, {name: value for name, value in flags.items() if value is not None})
    except SettingsError as error:
        mistakes += error.mistakes
        return None


def _period(
    settings: ReadSettings | None, mistakes: list[str], month: str | None, start: str | None, end: str | None
) -> Period | None:
    """The period; None where it is wrong, or where no settings say in which zone."""
    if settings is None:
        return None
    try:
        return parse_period(month, start, end, settings.zone, time.time_ns() // 1000)
    except PeriodError as error:
        mistakes += error.mistakes
        return None


def _choice(name: str, text: str, choices: type[Choice], mistakes: list[str]) -> Choice:
    """The choice that `text` names; the first where it names none, and then it goes to `mistakes`."""
    known = list(choices)
    if text in known:
        return choices(text)
    mistakes.append(f"{name} {text}: expected one of {', '.join(known)}{nearest(text, known)}")
    return known[0]


@contextmanager
def _database(settings: DatabaseSettings) -> Iterator[Engine]:
    engine = open_database(settings.database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def _check_exists(settings: DatabaseSettings) -> None:
    """Ends the command where the database is a file that is not there: reading must not make it."""
    file = sqlite_file(settings.database_url)
    if file is not None and not file.exists():
        _fail(1, [f"there is no database {file} yet: {_how_to_make(settings)}"])


def _check_schema(engine: Engine, settings: DatabaseSettings) -> None:
    """Ends the command where the database cannot be read by this version."""
    if not is_current(engine):
        name = shown(settings.database_url)
        _fail(1, [f"database {name} does not have this version's schema: {_how_to_make(settings)}"])


def _how_to_make(settings: DatabaseSettings) -> str:
    return "start gputally-collector, or run: gputally migrate --database-url " + shown(settings.database_url)


def _unreadable(settings: DatabaseSettings, error: Exception) -> str:
    return f"database {shown(settings.database_url)} cannot be used: {str(error).partition(chr(10))[0]}"


def _fail(status: int, messages: Sequence[str]) -> NoReturn:
    for message in messages:
        sys.stderr.write(f"gputally: {message}\n")
    raise typer.Exit(status)


if __name__ == "__main__":
    main()
