"""The two databases that every storage test runs on: a SQLite file, and a real PostgreSQL server of this run."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine

from gputally.collector.database import engine as engine_module
from gputally.collector.database.engine import is_sqlite, open_database, writing
from gputally.collector.database.migrate import migrate
from gputally.collector.database.schema import metadata

_MISSING = "PostgreSQL's server is not installed: apt-get install postgresql"
_TEMPLATE = "migrated"
_CHOOSES_STRATEGY = 150_000  # from 15 on a new database is written through the log, page by page, unless told otherwise
_LARGE = 65_536  # bytes of a table
_TURNS = 50  # tests that have the same database one after the other: rows that were deleted still take room in it
# Nothing here outlives the test run, so nothing is worth a disk flush.
_FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c listen_addresses=''"

FLUSHING = engine_module._prepare_sqlite  # how the product opens a SQLite file

# The same for a server that is killed and must keep what it committed: the kernel keeps what was written.
CRASH_SAFE = "-c fsync=off -c listen_addresses=''"


# All that a test can leave behind in a database but rows: tables, views, indexes, who may read them, settings. A copy
# has the template's object ids.
_FURNITURE = """
SELECT md5(string_agg(thing, chr(10) ORDER BY thing)) FROM (
    SELECT concat_ws(' ', oid, relnamespace, relname, relkind, relnatts, relhastriggers, relowner, relacl) FROM pg_class
    WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace, 'information_schema'::regnamespace)
    UNION ALL SELECT concat_ws(' ', attrelid, attname, atttypid, attnotnull, attacl) FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid AND relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', oid, nspname, nspacl) FROM pg_namespace
    UNION ALL SELECT concat_ws(' ', oid, proname) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', oid, conname) FROM pg_constraint
    UNION ALL SELECT concat_ws(' ', setrole, setconfig) FROM pg_db_role_setting WHERE setdatabase =
        (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT version_num FROM alembic_version
) AS furniture(thing)
"""
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_USED_TABLES = """
SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0
"""
_FIRST_IDS = "SELECT setval(sequencename::regclass, start_value, false) FROM pg_sequences WHERE last_value IS NOT NULL"


def flush_nothing() -> None:
    """From now on this process opens SQLite files so that no commit waits for the disk, as PostgreSQL's do here."""

    def prepare(connection: Any, entry: Any) -> None:
        FLUSHING(connection, entry)
        connection.execute("PRAGMA synchronous = OFF")

    engine_module._prepare_sqlite = prepare


class PostgresServer:
    """A server in a folder of its own, reached through a unix socket there.

    A database with the schema is a copy of one, or one that a test gave back and that is like new again: to copy its
    five hundred files takes fifty times as long as to delete the rows of a test.
    """

    def __init__(self, folder: Path, programs: Path, user: str | None, options: str = _FAST) -> None:
        """`user` is who runs the server, None for the current user: PostgreSQL refuses to run as root."""
        self._folder = folder
        self._programs = programs
        self._user = user
        self._options = options
        self._count = 0
        self._furniture = ""  # of the template
        self._turns: dict[str, int] = {}  # of each copy of it
        self._clean: list[str] = []

    def start(self) -> None:
        """Initialise and start the server, and migrate the database that the others are copied from."""
        self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "--no-locale")
        self.start_again()
        self._administer("CREATE DATABASE {}", _TEMPLATE)
        engine = open_database(self._url(_TEMPLATE))
        migrate(engine)
        engine.dispose()
        with psycopg.connect(self._url(_TEMPLATE)) as connection:
            self._furniture = _furniture(connection)

    def start_again(self) -> None:
        """Start the server on what is there, and wait until it has recovered."""
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "-w", "-t", "60", "-l", log, "-o", f"{self._options} -k {self._folder}")

    def stop(self) -> None:
        """Stop the server that this folder's pid file names."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def kill(self) -> None:
        """SIGKILL to the server and all of its children at once, as the kernel does it when memory is short."""
        server = psutil.Process(int((self._folder / "data" / "postmaster.pid").read_text().split()[0]))
        family = [*server.children(recursive=True), server]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, 20)

    def create(self, *, migrated: bool) -> str:
        """The URL of a database that nobody has, empty or with the schema in it."""
        if migrated and self._clean:
            return self._clean.pop()
        self._count += 1
        name = f"test_{self._count}"
        with self._administration() as connection:
            by_files = " STRATEGY FILE_COPY" if connection.info.server_version >= _CHOOSES_STRATEGY else ""
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}" + by_files)
            template = _TEMPLATE if migrated else "template0"
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        url = self._url(name)
        if migrated:
            self._turns[url] = 0
        return url

    def drop(self, url: str) -> None:
        """Give the database at `url` back; what is not like new after that is removed, and whoever uses it cut off."""
        if self._is_like_new(url):
            self._clean.append(url)
        else:
            self._administer("DROP DATABASE {} WITH (FORCE)", url.partition("?")[0].rpartition("/")[2])

    def _is_like_new(self, url: str) -> bool:
        """Delete its rows; False where that is not all that there is to do."""
        self._turns[url] = self._turns.get(url, _TURNS) + 1  # what is no copy of the template is never used again
        if self._turns[url] > _TURNS:
            return False
        with psycopg.connect(url) as connection:
            if connection.execute(_OTHERS).fetchone() != (0,) or _furniture(connection) != self._furniture:
                return False
            delete_rows(connection)
            connection.execute(_FIRST_IDS)
        return True

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def _administration(self) -> psycopg.Connection:
        return psycopg.connect(self._url("postgres"), autocommit=True)

    def _administer(self, statement: str, *names: str) -> None:
        with self._administration() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, "-D", self._folder / "data", *arguments],
            check=True,
            user=self._user,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def running_postgres(options: str = _FAST) -> Iterator[PostgresServer]:
    """A running server, stopped and removed at the end; skips the test where none is installed."""
    programs = _programs()
    if programs is None:
        pytest.skip(_MISSING)
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="gputally-pg-", dir="/tmp"))  # a socket's path holds 107 bytes
    try:
        if user:
            shutil.chown(folder, user)
        server = PostgresServer(folder, programs, user, options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def empty(engine: Engine) -> None:
    """Delete every row: a fresh database for the next example of a property test."""
    with writing(engine) as connection:
        if is_sqlite(engine):
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        else:
            delete_rows(connection.connection.dbapi_connection)


def delete_rows(connection: psycopg.Connection) -> None:
    """All rows of all tables, whichever points to which.

    TRUNCATE makes every file anew, which takes fifty times as long; but deleted rows are in the way of who comes next
    until somebody vacuums, so that no large table keeps them.
    """
    used = connection.execute(_USED_TABLES).fetchall()
    small = [sql.Identifier(name) for name, size in used if size <= _LARGE]
    large = [sql.Identifier(name) for name, size in used if size > _LARGE]
    if large:
        connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.SQL(", ").join(large)))
    connection.execute("SET LOCAL session_replication_role = replica")
    connection.execute(sql.Composed([sql.SQL("DELETE FROM {};").format(name) for name in small]))
    connection.execute("SET LOCAL session_replication_role = origin")


def _furniture(connection: psycopg.Connection) -> str:
    (found,) = connection.execute(_FURNITURE).fetchone() or ("",)
    return str(found)


def _programs() -> Path | None:
    found: Sequence[Path] = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the whole test run."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with this version's schema, which tests get copies of."""
    path = tmp_path_factory.mktemp("migrated") / "gputally.sqlite"
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    assert [found.name for found in path.parent.iterdir()] == [path.name], "a part of it lies in another file"
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """A test that asks for this, or for anything built on it, runs once per kind of database."""
    return str(request.param)


@pytest.fixture
def empty_database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table."""
    yield from _database(database_kind, request, tmp_path, migrated=False)


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with this version's schema and no row in it."""
    yield from _database(database_kind, request, tmp_path, migrated=True)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def _database(kind: str, request: pytest.FixtureRequest, folder: Path, *, migrated: bool) -> Iterator[str]:
    if kind == "sqlite":
        path = folder / "gputally.sqlite"
        if migrated:
            shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        yield f"sqlite:///{path}"
        return
    server = request.getfixturevalue("postgres_server")
    url = server.create(migrated=migrated)
    yield url
    server.drop(url)
