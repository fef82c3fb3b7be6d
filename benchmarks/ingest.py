"""Back-fill: windows through real streams into a real collector, beside the rows of the same windows by COPY and merge.

Sixteen agents send ten windows of 16 lines a message, compressed, four hours after four hours; a window counts once it
is acknowledged, and so committed. After each stretch its rows are read back and merged into a second database of the
same server. Client, collector and server share two cores. On SQLite the writer's own function is measured, beside a
bare executemany. The first stretch makes names known and statements compiled, and does not count.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

import grpc
import psycopg
from agents import Agent, connected, run, send_all
from content import HOUR_US, LINES, MINUTE_US, batches, messages
from copying import NAMES, WRITTEN, Rows, prepare, read_rows, write_names, write_windows
from cpu import Cost, CpuOf, cost, middle
from serving import DURABLE, Server, collector, postmaster
from sqlalchemy import Engine, Table
from table import Figure, ratio_at_least, ratio_at_most
from tests.databases import running_postgres
from tests.programs import wait_until

from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate
from gputally.collector.ingest.arrivals import arrival
from gputally.collector.ingest.columns import Layouts
from gputally.collector.ingest.commit import Committer
from gputally.proto import telemetry_pb2 as pb

AGENTS, MINUTES, WINDOWS = 16, 240, 10  # windows of one message
_STRETCH_US = MINUTES * MINUTE_US
_DAY_US = 24 * HOUR_US
_CPU = "back-fill, CPU of collector, client and server"
_GROUP = 256  # windows of one transaction, as in the collector's writer
_SQLITE_NODES, _SQLITE_MINUTES = 16, 60
_SQLITE_START_US = 1_782_864_000_000_000


def figures(*, quick: bool) -> list[Figure]:
    """PostgreSQL behind real streams, then SQLite."""
    return [*_postgres(1 if quick else 3), *_sqlite(2 if quick else 5)]


def _postgres(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, running_postgres(DURABLE) as server:
        url, beside = (server.create(migrated=True) for _ in range(2))
        with collector(Path(folder), url) as ours, psycopg.connect(beside) as connection:
            prepare(connection)
            found = run(_stretches(ours, url, connection, rounds))
    stream, copy = (middle(side) for side in zip(*found, strict=True))
    lines = AGENTS * MINUTES * LINES
    name, ceiling = "back-fill, 160 lines a message, PostgreSQL with fsync", "COPY + merge"
    return [
        Figure(name, lines / stream.wall, "lines/s", ceiling, lines / copy.wall, ratio_at_least(0.5)),
        Figure(_CPU, stream.cpu / lines * 1e6, "us/line", ceiling, copy.cpu / lines * 1e6, kept=True),
    ]


async def _stretches(ours: Server, url: str, beside: psycopg.Connection, rounds: int) -> list[tuple[Cost, Cost]]:
    """A stretch through the streams, then the same by COPY."""
    # Up to now, as after an outage.
    first_us = time.time_ns() // 1000 // HOUR_US * HOUR_US - (rounds + 1) * _STRETCH_US
    database, found = postmaster(url), []
    async with connected(ours.target, AGENTS, grpc.Compression.Gzip) as agents:
        for at in range(rounds + 1):
            start_us = first_us + at * _STRETCH_US
            stream = await _sent(agents, start_us, at * MINUTES + 1, (ours.pid, database))
            await asyncio.to_thread(_settled, url)
            rows = read_rows(url, start_us)
            assert len(rows["line"]) == AGENTS * MINUTES * LINES
            found.append((stream, _copied(beside, rows, database, with_names=not at)))
    return found[1:]


async def _sent(agents: Sequence[Agent], start_us: int, first: int, pids: Sequence[int]) -> Cost:
    """A stretch of every agent, until the last window is acknowledged."""
    sent = [batches(messages(at, start_us, MINUTES, first), WINDOWS) for at in range(AGENTS)]
    others, own, began = CpuOf(*pids), time.process_time(), time.perf_counter()
    await send_all(agents, sent, WINDOWS, first)
    wall = time.perf_counter() - began
    return Cost(wall, others.seconds() + time.process_time() - own)


def _copied(connection: psycopg.Connection, rows: Rows, database: int, *, with_names: bool) -> Cost:
    if with_names:
        write_names(connection, rows)
    return cost(lambda: write_windows(connection, rows), database)


def _settled(url: str) -> None:
    """Wait until the collector has nothing left to add up, so that the ceiling has the machine for itself as well."""
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(lambda: not connection.execute("SELECT FROM dirty_hour LIMIT 1").fetchall(), 60, "settled hours")


def _sqlite(rounds: int) -> list[Figure]:
    """Decode, examine and commit, in this process, beside executemany of the rows that come of it."""
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = Path(folder) / "ours.sqlite", Path(folder) / "bare.sqlite"
        _new(bare).dispose()
        engine = _new(ours)
        committer = Committer(engine, ZoneInfo("UTC"), max_age_us=None)
        layouts = Layouts(_SQLITE_NODES)
        pairs = [_sqlite_round(committer, layouts, ours, bare, at) for at in range(rounds + 1)][1:]
        engine.dispose()
    own, least = (median(side) for side in zip(*pairs, strict=True))
    lines, name = _SQLITE_NODES * _SQLITE_MINUTES * LINES, "SQLite path, decoding included"
    return [
        Figure(name, lines / own, "lines/CPU s", "executemany", lines / least, ratio_at_least(0.25)),
        Figure(
            "SQLite path, CPU",
            own / lines * 1e6,
            "us/line",
            "executemany",
            least / lines * 1e6,
            ratio_at_most(4),
            kept=True,
        ),
    ]


def _sqlite_round(committer: Committer, layouts: Layouts, ours: Path, bare: Path, at: int) -> tuple[float, float]:
    """CPU seconds of the next hour, and of its rows."""
    start_us = _SQLITE_START_US + at * HOUR_US
    first = at * _SQLITE_MINUTES + 1
    sent = [message for node in range(_SQLITE_NODES) for message in messages(node, start_us, _SQLITE_MINUTES, first)]
    own = cost(lambda: commit(committer, layouts, sent, start_us + _DAY_US)).cpu
    with closing(sqlite3.connect(ours)) as source:
        rows = {table.name: source.execute(_rows_since(table, start_us)).fetchall() for table in (*NAMES, *WRITTEN)}
    names = NAMES if not at else ()
    return own, cost(lambda: _executemany(bare, rows, (*names, *WRITTEN))).cpu


def _rows_since(table: Table, start_us: int) -> str:
    """Names, or rows of windows that start at or after an instant."""
    window = f'SELECT id FROM "window" WHERE start_us >= {start_us}'  # noqa: S608 - a number of ours
    of_window = {"window": f"id IN ({window})"}
    where = "true" if table in NAMES else of_window.get(table.name, f"window_id IN ({window})")
    return f'SELECT * FROM "{table.name}" WHERE {where}'  # noqa: S608


def commit(committer: Committer, layouts: Layouts, sent: Sequence[bytes], now_us: int) -> None:
    """Decode and commit messages in groups as large as a busy writer's."""
    left = map(pb.Window.FromString, sent)
    while group := [arrival(message, now_us).read(layouts) for message in islice(left, _GROUP)]:
        assert not any(outcome.refusal or outcome.defect for outcome in committer.commit(group, now_us))


def _executemany(path: Path, rows: Rows, tables: Sequence[Table]) -> None:
    """All rows in one transaction, with the settings of the collector's own connections."""
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("BEGIN IMMEDIATE")
    for table in tables:
        marks = ", ".join("?" * len(table.columns))
        connection.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows[table.name])  # noqa: S608
    connection.execute("COMMIT")
    connection.close()


def _new(path: Path) -> Engine:
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    return engine
