"""The one door to the database: SQLite (one file, no server) or PostgreSQL (psycopg 3).

Write inside `writing`, read inside `reading`: on SQLite a writer takes the file's one write lock when it begins, so
it cannot lose a race half way; a reader sees one state of the database for as long as it reads, on both databases.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DataError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from gputally.collector.database.fingerprint import teach

# What a statement may raise: SQLAlchemy's errors, and psycopg's own from a COPY, which SQLAlchemy does not see.
DATABASE_ERRORS = (SQLAlchemyError, psycopg.Error)
# The ones that say the values are at fault: trying again would fail again. SQLite's driver has none of its own for a
# number of more than 8 bytes.
VALUE_ERRORS = (DataError, psycopg.DataError, OverflowError)

_ACCEPTED = "accepted are sqlite:////path/to/file and postgresql://user:password@host:port/database"
_WRITES = "gputally_writes"
_SQLITE_BUSY_MS = 30_000  # how long a connection waits for others' writes: SQLite lets nobody queue, only try again
_WAL_RETRY_S = 0.01
_POSTGRES_OPTIONS: dict[str, str | int] = {
    "application_name": "gputally",
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 30,  # seconds
    "tcp_user_timeout": 30_000,  # milliseconds: a server that vanished is noticed, not waited for
}


class DatabaseUrlError(ValueError):
    """A database URL that cannot be used; the message says what can, and never repeats a password."""


def open_database(url: str) -> Engine:
    """An engine on the database at `url`, without a connection yet; raises DatabaseUrlError.

    The folder of a SQLite file is made when it is missing.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",  # whatever the server's default: who waited for a lock sees what came before
        connect_args=_POSTGRES_OPTIONS,
    )


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes; it commits at the end of the block, and leaves nothing where the block raises."""
    with engine.execution_options(**{_WRITES: True}).begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that reads: all of its statements see the same state of the database."""
    options = {} if is_sqlite(engine) else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def is_sqlite(bind: Engine | Connection) -> bool:
    """Whether the database is SQLite; otherwise it is PostgreSQL."""
    return bind.dialect.name == "sqlite"


def upsert(connection: Connection, table: Table) -> postgresql.Insert:
    """An INSERT into `table` that can say what happens on a conflict, in the database's own dialect.

    Typed as PostgreSQL's: SQLite's has the same `excluded` and `on_conflict_do_…`.
    """
    return sqlite.insert(table) if is_sqlite(connection) else postgresql.insert(table)  # type: ignore[return-value]


def parse_url(url: str) -> URL:
    """The parts of a database URL; raises DatabaseUrlError."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUrlError(f"the database URL cannot be read; {_ACCEPTED}") from error
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"):
        raise DatabaseUrlError(f"{parsed.drivername}: unknown kind of database; {_ACCEPTED}")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise DatabaseUrlError(f"SQLite needs a file, its threads could not share a database in memory; {_ACCEPTED}")
    return parsed


def _open_sqlite(url: URL) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    """WAL lets readers go on beside the writer; FULL because a window is acknowledged once it is committed."""
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - narrows the type for the next line
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not guessed by the driver
    connection.execute(f"PRAGMA busy_timeout = {_SQLITE_BUSY_MS}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    teach(connection)


def _use_wal(connection: sqlite3.Connection) -> None:
    """The first of several that open a new file at once changes its mode; for the others that fails without a wait."""
    until_s = time.monotonic() + _SQLITE_BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until_s:
                raise
            time.sleep(_WAL_RETRY_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
