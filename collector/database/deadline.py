"""A limit on how long a connection's statements may take, kept by the database itself."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from gputally.collector.database.engine import is_sqlite, reading

_INSTRUCTIONS = 20_000  # of SQLite's machine between two looks at the clock: well below a millisecond


class TooSlow(TimeoutError):
    """A statement was given up because it took too long."""


@contextmanager
def reading_within(engine: Engine, seconds: float) -> Iterator[Connection]:
    """A transaction that reads, as `database.reading`, whose statements end in TooSlow after `seconds`."""
    until_s = time.monotonic() + seconds
    try:
        with reading(engine) as connection, _limited(connection, seconds, until_s):
            yield connection
    except OperationalError as error:
        if time.monotonic() < until_s:
            raise
        raise TooSlow(f"the database took longer than {seconds:g} s") from error


@contextmanager
def _limited(connection: Connection, seconds: float, until_s: float) -> Iterator[None]:
    if not is_sqlite(connection):
        connection.execute(text(f"SET LOCAL statement_timeout = {max(1, round(seconds * 1000))}"))
        yield
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - narrows the type for the next lines
    driver.set_progress_handler(lambda: time.monotonic() > until_s, _INSTRUCTIONS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)
