"""What a ledger takes on disk: bytes of a line and of a posting with their keys, beside the bare row's own bytes.

Windows are those of content.py, 16 lines each; postings on PostgreSQL are a month of fleet.py, on SQLite an hour's.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

from content import HOUR_US, LINES, messages
from fleet import THOUSAND, Size, book_month
from ingest import commit
from sqlalchemy import Engine, func, select, text
from table import Figure, Target, at_most
from tests.databases import running_postgres

from gputally.collector.database.engine import is_sqlite, open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.database.schema import posting
from gputally.collector.ingest.columns import Layouts
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle

SERVER = "-c fsync=off -c listen_addresses='' -c shared_buffers=1GB -c max_wal_size=4GB -c jit=off"
_START_US = 1_782_864_000_000_000
_MINUTES = 60
_OF_WINDOWS = ("window", "window_device", "line")
_YEAR_POSTINGS = 2 * 24 * 365  # of a GPU that somebody holds for a part of each hour, as in fleet.py


def figures(*, quick: bool) -> list[Figure]:
    """Both databases."""
    nodes, size = (10, Size(100)) if quick else (100, THOUSAND)
    found = []
    with running_postgres(SERVER) as server:
        with _opened(server.create(migrated=True)) as engine:
            found += _of_lines("PostgreSQL", engine, nodes)
        with _opened(server.create(migrated=True)) as engine:
            found += _of_postings(engine, book_month(engine, size))
    with tempfile.TemporaryDirectory() as folder, _opened(f"sqlite:///{Path(folder)}/bench.sqlite") as engine:
        migrate(engine)
        found += _of_lines("SQLite", engine, nodes)
        settle(engine, ZoneInfo("UTC"))
        with reading(engine) as connection:
            count = connection.execute(select(func.count()).select_from(posting)).scalar_one()
        found.append(
            Figure("posting on disk, SQLite", sizes(engine)["posting"] / count, "bytes", "", None, at_most(150))
        )
    return found


@contextmanager
def _opened(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()


def _of_lines(name: str, engine: Engine, nodes: int) -> list[Figure]:
    """A line with its key, and with its part of the window and of the window's devices."""
    sent = [each for at in range(nodes) for each in messages(at, _START_US, _MINUTES)]
    commit(Committer(engine, ZoneInfo("UTC"), max_age_us=None), Layouts(nodes), sent, _START_US + 24 * HOUR_US)
    lines, taken = nodes * _MINUTES * LINES, sizes(engine)
    whole = sum(taken[table] for table in _OF_WINDOWS)
    return [
        _figure(f"line on disk, {name}", engine, "line", taken["line"] / lines, at_most(130)),
        Figure("the same with its window and devices", whole / lines, "bytes"),
    ]


def _of_postings(engine: Engine, count: int) -> list[Figure]:
    each = sizes(engine)["posting"] / count
    return [
        _figure("posting on disk, PostgreSQL", engine, "posting", each, at_most(150)),
        Figure("postings of a GPU and year, two an hour", each * _YEAR_POSTINGS / 1e6, "MB", "", None, at_most(5)),
    ]


def _figure(name: str, engine: Engine, table: str, each: float, target: Target) -> Figure:
    """Beside what PostgreSQL says that the row itself has; SQLite does not say."""
    if is_sqlite(engine):
        return Figure(name, each, "bytes", "", None, target)
    with reading(engine) as connection:
        query = f"SELECT avg(pg_column_size(t.*)) FROM {table} t"  # noqa: S608 - our own names
        return Figure(name, each, "bytes", "the row alone", float(connection.execute(text(query)).scalar_one()), target)


def sizes(engine: Engine) -> dict[str, int]:
    """Bytes of each table with its indexes."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if is_sqlite(engine):
            query = "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_schema USING (name) GROUP BY 1"
        else:
            connection.execute(text("VACUUM ANALYZE"))
            query = "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind IN ('r', 'p')"
        return {name: int(size) for name, size in connection.execute(text(query))}
