"""Back-fill: windows through real streams into a real collector, beside the rows of the same windows by COPY and merge.

Sixteen agents send ten windows of 16 lines a message, hour after hour; a window counts once it is acknowledged, and so
committed. After each hour its rows are read back and merged into a second database of the same server. Client,
collector and server share two cores. On SQLite the writer's own function is measured, beside a bare executemany.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

import psycopg
from agents import Agent, connected, run, send_all
from content import HOUR_US, LINES, batches, messages
from copying import NAMES, WRITTEN, Rows, drop_foreign_keys, read_rows, write_names, write_windows
from cpu import Cost, CpuOf, cost, middle
from serving import DURABLE, Server, collector, postmaster
from sqlalchemy import Engine
from table import Figure, ratio_at_least, ratio_at_most
from tests.databases import running_postgres
from tests.programs import wait_until

from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate
from gputally.collector.ingest.commit import Committer
from gputally.collector.ingest.stream import receive
from gputally.proto import telemetry_pb2 as pb

AGENTS, MINUTES, WINDOWS = 16, 60, 10  # windows of one message
_DAY_US = 24 * HOUR_US
_CPU = "back-fill, CPU of collector, client and server"
_GROUP = 256  # windows of one transaction, as in the collector's writer


def figures(*, quick: bool) -> list[Figure]:
    """PostgreSQL behind real streams, then SQLite."""
    return [*_postgres(2 if quick else 5), *_sqlite(3 if quick else 5)]


def _postgres(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, running_postgres(DURABLE) as server:
        url, *beside = (server.create(migrated=True) for _ in range(3))
        with collector(Path(folder), url) as ours, _connected(beside) as connections:
            drop_foreign_keys(connections[0])
            found = run(_hours(ours, url, connections, rounds))
    stream, copy, checked = (middle(side) for side in zip(*found, strict=True))
    lines = AGENTS * MINUTES * LINES
    name, ceiling = "back-fill, 160 lines a message, PostgreSQL with fsync", "COPY + merge, no foreign keys"
    return [
        Figure(name, lines / stream.wall, "lines/s", ceiling, lines / copy.wall, ratio_at_least(0.5)),
        Figure(_CPU, stream.cpu / lines * 1e6, "us/line", ceiling, copy.cpu / lines * 1e6, kept=True),
        Figure(
            "the same COPY + merge with our foreign keys",
            checked.cpu / lines * 1e6,
            "us/line",
            ceiling,
            copy.cpu / lines * 1e6,
        ),
    ]


@contextmanager
def _connected(urls: Sequence[str]) -> Iterator[list[psycopg.Connection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(psycopg.connect(url)) for url in urls]


async def _hours(ours: Server, url: str, beside: Sequence[psycopg.Connection], rounds: int) -> list[tuple[Cost, ...]]:
    """An hour through the streams, then the same by COPY; the first one makes the names known, and does not count."""
    first_us = (time.time_ns() // 1000 // HOUR_US - rounds - 1) * HOUR_US  # up to now, as after an outage
    database, found = postmaster(url), []
    async with connected(ours.target, AGENTS) as agents:
        for hour in range(rounds + 1):
            stream = await _sent(agents, first_us + hour * HOUR_US, hour * MINUTES + 1, (ours.pid, database))
            await asyncio.to_thread(_settled, url)
            rows = read_rows(url, first_us + hour * HOUR_US)
            assert len(rows["line"]) == AGENTS * MINUTES * LINES
            found.append((stream, *(_copied(one, rows, database, with_names=not hour) for one in beside)))
    return found[1:]


async def _sent(agents: Sequence[Agent], start_us: int, first: int, pids: Sequence[int]) -> Cost:
    """An hour of every agent, until the last window is acknowledged."""
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
    start_us = 1_782_864_000_000_000
    with tempfile.TemporaryDirectory() as folder:
        engines = [_new(Path(folder) / f"{at}.sqlite") for at in range(rounds)]
        pairs = [_sqlite_round(engine, Path(folder), start_us, at) for at, engine in enumerate(engines)]
    ours, bare = (median(side) for side in zip(*pairs, strict=True))
    lines, name = AGENTS * MINUTES * LINES // 4, "SQLite path, decoding included"
    return [
        Figure(name, lines / ours, "lines/CPU s", "executemany", lines / bare, ratio_at_least(0.25)),
        Figure(
            "SQLite path, CPU",
            ours / lines * 1e6,
            "us/line",
            "executemany",
            bare / lines * 1e6,
            ratio_at_most(4),
            kept=True,
        ),
    ]


def _sqlite_round(engine: Engine, folder: Path, start_us: int, at: int) -> tuple[float, float]:
    sent = [message for node in range(AGENTS // 4) for message in messages(node, start_us, MINUTES)]
    ours = cost(lambda: commit(engine, sent, start_us + _DAY_US)).cpu
    engine.dispose()
    with sqlite3.connect(folder / f"{at}.sqlite") as source:
        rows = {table.name: source.execute(f'SELECT * FROM "{table.name}"').fetchall() for table in (*NAMES, *WRITTEN)}  # noqa: S608
    source.close()
    bare = _new(folder / f"bare-{at}.sqlite")
    bare.dispose()
    return ours, cost(lambda: _executemany(folder / f"bare-{at}.sqlite", rows)).cpu


def commit(engine: Engine, sent: Sequence[bytes], now_us: int) -> None:
    """Decode and commit messages in groups as large as a busy writer's."""
    committer, left = Committer(engine, ZoneInfo("UTC"), max_age_us=None), iter(sent)
    while group := [receive(pb.Window.FromString(message), now_us, None) for message in islice(left, _GROUP)]:
        assert not any(outcome.refusal for outcome in committer.commit(group, now_us))


def _executemany(path: Path, rows: Rows) -> None:
    """All rows in one transaction, with the settings of the collector's own connections."""
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("BEGIN IMMEDIATE")
    for table in (*NAMES, *WRITTEN):
        marks = ", ".join("?" * len(table.columns))
        connection.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows[table.name])  # noqa: S608
    connection.execute("COMMIT")
    connection.close()


def _new(path: Path) -> Engine:
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    return engine
