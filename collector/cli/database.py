"""What commands share: their settings, a database that this version can read, and how they end with a mistake."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Annotated, NoReturn, TypeVar

import typer
from sqlalchemy import Engine

from gputally.accounting.ledger_hour import to_us
from gputally.collector.database.engine import DATABASE_ERRORS, open_database, reading
from gputally.collector.database.migrate import is_current
from gputally.collector.ledger.billing_zone import OtherZone, check_zone
from gputally.collector.settings import (
    DatabaseSettings,
    ReadSettings,
    SettingsError,
    load,
    nearest,
    shown,
    sqlite_file,
)

Settings = TypeVar("Settings", bound=DatabaseSettings)
Choice = TypeVar("Choice", bound=StrEnum)

DatabaseUrl = Annotated[
    str | None,
    typer.Option(help=str(DatabaseSettings.model_fields["database_url"].description), metavar="URL"),
]
Timezone = Annotated[
    str | None, typer.Option(help=str(ReadSettings.model_fields["timezone"].description), metavar="NAME")
]


def settings_of(model: type[Settings], mistakes: Sequence[str] = (), **flags: str | None) -> Settings:
    """The settings that flags and environment give; ends the command with every mistake in them, after `mistakes`."""
    try:
        return load(model, {name: value for name, value in flags.items() if value is not None})
    except SettingsError as error:
        fail(2, [*mistakes, *error.mistakes])


def choice(name: str, text: str, choices: type[Choice], mistakes: list[str]) -> Choice:
    """The choice that `text` names; the first where it names none, and then it goes to `mistakes`."""
    known = list(choices)
    if text in known:
        return choices(text)
    mistakes.append(f"{name} {text}: expected one of {', '.join(known)}{nearest(text, known)}")
    return known[0]


@contextmanager
def ledger(settings: DatabaseSettings) -> Iterator[Engine]:
    """The database for as long as the block lasts; ends the command where it is not there or cannot be used."""
    if not is_there(settings):
        fail(1, [missing(settings)])
    with database(settings) as engine:
        if not is_current(engine):
            fail(1, [outdated(settings)])
        if isinstance(settings, ReadSettings):
            _check_zone(engine, settings)
        yield engine


@contextmanager
def database(settings: DatabaseSettings) -> Iterator[Engine]:
    """The same whatever is in it, made where it is a file that is missing."""
    engine = open_database(settings.database_url)
    try:
        yield engine
    except DATABASE_ERRORS as error:
        fail(1, [unusable(settings, error)])
    finally:
        engine.dispose()


def is_there(settings: DatabaseSettings) -> bool:
    """False where the database is a file that does not exist: reading must not make it."""
    file = sqlite_file(settings.database_url)
    return file is None or file.exists()


def missing(settings: DatabaseSettings) -> str:
    """Says that the file is not there, and what makes it."""
    return f"there is no database {sqlite_file(settings.database_url)} yet: {_how_to_make(settings)}"


def outdated(settings: DatabaseSettings) -> str:
    """Says that the schema is another version's, and what changes it."""
    return f"database {shown(settings.database_url)} does not have this version's schema: {_how_to_make(settings)}"


def unusable(settings: DatabaseSettings, error: Exception) -> str:
    """Says in one line why the database cannot be used."""
    return f"database {shown(settings.database_url)} cannot be used: {str(error).partition(chr(10))[0]}"


def instant_of(flag: str, text: str | None, mistakes: list[str]) -> int | None:
    """Microseconds since the epoch; None where nothing was given. What is no instant goes to `mistakes`."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        mistakes.append(f"{flag} {text}: expected an instant with its offset, such as 2026-11-01T00:00:00Z")
        return None
    return to_us(moment)


def fail(status: int, messages: Sequence[str]) -> NoReturn:
    """End the command."""
    for message in messages:
        sys.stderr.write(f"gputally: {message}\n")
    raise typer.Exit(status)


def _check_zone(engine: Engine, settings: ReadSettings) -> None:
    try:
        with reading(engine) as connection:
            check_zone(connection, settings.timezone)
    except OtherZone as error:
        fail(2, [str(error)])


def _how_to_make(settings: DatabaseSettings) -> str:
    return "start gputally-collector, or run: gputally migrate --database-url " + shown(settings.database_url)
