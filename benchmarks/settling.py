"""A fleet that is live: each minute every node sends a window, and its running hour is recomputed.

1,000 nodes of eight GPUs, each shared by two pods, at half past: a minute of windows arrives, all pairs of hour and
node are marked, and settled. A quarter of the pods idles, another quarter now and then. Eleven hours of the day are
booked already. On a database that nobody has analysed, as in a collector's first minutes, and on one that was.
"""

# ruff: noqa: S608 - the statements are put together from the numbers below, and from nothing else
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from zoneinfo import ZoneInfo

from cpu import Cost, cost, in_turns, middle
from serving import postmaster
from sqlalchemy import Engine, text
from table import Figure, at_most
from tests.databases import PostgresServer, running_postgres

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import Basis, Reason, Source
from gputally.collector.database.coded import BASIS, REASON, SOURCE
from gputally.collector.database.engine import open_database, writing
from gputally.collector.database.schema import AMOUNTS, MEMOS
from gputally.collector.ledger.postings import settle

NODES, GPUS, PODS = 1_000, 8, 16
SERVER = "-c fsync=off -c listen_addresses='' -c shared_buffers=1GB -c max_wal_size=4GB -c autovacuum=off"
_EARLY, _MINUTES, _BOOKED = 10, 28, 11  # minutes before the hour, those of it that are there at first, earlier hours
_UTC = ZoneInfo("UTC")
_DAY = 1_782_864_000_000_000
_HOUR = _DAY + 12 * HOUR_US
_MODEL = "NVIDIA H100 80GB HBM3"
_FOREVER = 2**63 - 1
[_HELD], [_PLAIN] = BASIS.codes([Basis.RESERVATION]), REASON.codes([Reason.NONE])
[_SAMPLED] = SOURCE.codes([Source.PROCESS_SAMPLES])
_SHARE = 30_000_000  # of a window, for each of two pods
_POSTING = """INSERT INTO posting (hour_us, node_id, device_id, partition, owner_id, basis, reason, source, used_us,
  idle_us, unallocated_us, unavailable_us, unobserved_us, energy_idle_mj, energy_dynamic_mj, profile, memory_byte_s)"""
_BUSY = f"(m + 61) * (n + 7919) * (p + 7919::bigint) % {_SHARE}"
_USED = f"CASE p % 4 WHEN 2 THEN 0 WHEN 3 THEN CASE (m + 60) / 5 % 2 WHEN 0 THEN 0 ELSE {_BUSY} END ELSE {_BUSY} END"


def _names(nodes: int, hours: int) -> str:
    return f"""
INSERT INTO node (id, cluster, name) SELECT n, 'bench', 'node-' || n FROM generate_series(1, {nodes}) n;
INSERT INTO device (id, uuid, model) SELECT n, 'GPU-' || n, '{_MODEL}' FROM generate_series(1, {nodes * GPUS}) n;
INSERT INTO owner (id, kind, namespace, pod, container, pod_uid, first_seen_us, "user", unit)
  SELECT n, 'pod', 'ns-' || n % 40, 'pod-' || n, 'main', 'uid-' || n, 0, '', ''
  FROM generate_series(1, {nodes * PODS}) n;
{_POSTING}
  SELECT {_HOUR} - (h + 1) * {HOUR_US}, n, (n - 1) * {GPUS} + p / 2 + 1, 'replica', (n - 1) * {PODS} + p + 1, {_HELD},
    {_PLAIN}, {_SAMPLED}, {HOUR_US // 4}, {HOUR_US // 4}, 0, 0, 0, 4200000 + p, 16800000 + n, '', 123695058124800
  FROM generate_series(1, {hours}) h, generate_series(1, {nodes}) n, generate_series(0, {PODS - 1}) p;
"""


def _windows(nodes: int, first: int, last: int) -> str:
    """These minutes, the oldest first, and the gaps behind them."""
    device = f"(n - 1) * {GPUS} + d"
    minutes = f"generate_series({first}, {last}) m, generate_series(1, {nodes}) n"
    held = " || ',' || ".join(f"'[' || (n - 1) * {PODS} + 2 * d - {at} || ',\"replica\",\"\",1,2]'" for at in (1, 0))
    newest = f"{_HOUR} + ({last} + 1) * 60000000::bigint"
    return f"""
INSERT INTO "window" (id, node_id, start_us, end_us, content_hash, agent_id, boot_id, sequence, skipped_us, waited_us,
  accepted_us)
  SELECT (m + 60) * {nodes} + n, n, {_HOUR} + m * 60000000::bigint, {_HOUR} + (m + 1) * 60000000::bigint, sha256('x'),
    'agent-' || n, 'b', m, 0, 0, {_HOUR} FROM {minutes};
INSERT INTO window_device (window_id, device_id, capacity_us, energy_start_mj, energy_end_mj, energy_estimated,
  energy_breaks, holders_start, holders_end)
  SELECT (m + 60) * {nodes} + n, {device}, 60000000, 48000000000 + m, 48000000001 + m, 0, 0, '[' || {held} || ']',
    '[' || {held} || ']' FROM {minutes}, generate_series(1, {GPUS}) d;
INSERT INTO line (window_id, position, device_id, partition, owner_id, basis, reason, source, used_us, idle_us,
  unallocated_us, unavailable_us, unobserved_us, energy_idle_mj, energy_dynamic_mj, profile, memory_byte_s)
  SELECT (m + 60) * {nodes} + n, p, (n - 1) * {GPUS} + p / 2 + 1, 'replica', (n - 1) * {PODS} + p + 1, {_HELD},
    {_PLAIN}, {_SAMPLED}, used, {_SHARE} - used, 0, 0, 0, 2100000 + p, 8400000 + n, '', 2061584302080 + p
  FROM (SELECT m, n, p, {_USED} AS used FROM {minutes}, generate_series(0, {PODS - 1}) p ORDER BY m, n, p) rows;
INSERT INTO gap (node_id, end_us, device_id, start_us, after_id)
  SELECT n, {_HOUR} + {first} * 60000000::bigint, {device}, 0, ({first} + 60) * {nodes} + n
  FROM generate_series(1, {nodes}) n, generate_series(1, {GPUS}) d WHERE NOT EXISTS (SELECT FROM gap);
DELETE FROM gap WHERE end_us = {_FOREVER};
INSERT INTO gap (node_id, end_us, device_id, start_us, before_id)
  SELECT n, {_FOREVER}, {device}, {newest}, ({last} + 60) * {nodes} + n
  FROM generate_series(1, {nodes}) n, generate_series(1, {GPUS}) d;
INSERT INTO dirty_hour (hour_us, node_id) SELECT {_HOUR + last // 60 * HOUR_US}, n FROM generate_series(1, {nodes}) n
  ON CONFLICT DO NOTHING
"""


_KEY = "device_id, partition, owner_id, basis, reason, profile"
_SUMMED = (*AMOUNTS, *MEMOS)
_BARE = f"""
INSERT INTO posting (hour_us, node_id, {_KEY}, source, {", ".join(_SUMMED)})
  SELECT {_HOUR}, node_id, {_KEY}, max(source), {", ".join(f"sum({name})" for name in _SUMMED)}
  FROM "window" w JOIN line ON line.window_id = w.id
  WHERE w.start_us >= {_HOUR} AND w.start_us < {_HOUR + HOUR_US} GROUP BY node_id, {_KEY}
"""


def figures(*, quick: bool) -> list[Figure]:
    """CPU of this process and the server for a pair of hour and node."""
    nodes, rounds = (NODES // 8, 2) if quick else (NODES, 3)
    with running_postgres(SERVER) as server, live_fleet(server, nodes) as (engine, database):
        minutes = count(_MINUTES)
        first = a_minute(engine, database, nodes, next(minutes))
        fresh = middle([a_minute(engine, database, nodes, next(minutes)) for _ in range(rounds)])
        analyse(engine)
        ours = lambda: a_minute(engine, database, nodes, next(minutes))  # noqa: E731 - both take turns
        known, bare = in_turns(rounds, ours, lambda: _bare(engine, database))
    one = bare.cpu / nodes * 1000
    unit, ceiling = "CPU ms a pair", "one statement for all"
    return [
        Figure("a live hour is settled", known.cpu / nodes * 1000, unit, ceiling, one, at_most(2), True),
        Figure("the same, pairs a second", nodes / known.wall, "pairs/s", ceiling, nodes / bare.wall),
        Figure("the same, nobody has analysed", fresh.cpu / nodes * 1000, unit, ceiling, one, at_most(2)),
        Figure("the same, for the first time", first.cpu / nodes / 2 * 1000, unit, ceiling, one),
    ]


@contextmanager
def live_fleet(
    server: PostgresServer, nodes: int, early: int = _EARLY, minutes: int = _MINUTES, hours: int = _BOOKED
) -> Iterator[tuple[Engine, int]]:
    """A database with the last minutes of an hour and the first of the next one, and the postings of hours before
    them; and the process that serves it."""
    url = server.create(migrated=True)
    engine = open_database(url)
    _run(engine, *_names(nodes, hours).split(";"), *_windows(nodes, -early, -1).split(";"))
    _run(engine, *_windows(nodes, 0, minutes - 1).split(";"))
    yield engine, postmaster(url)
    engine.dispose()
    server.drop(url)


def a_minute(engine: Engine, database: int, nodes: int, minute: int) -> Cost:
    """One more minute arrives, and all hours that wait are settled: at first two of each node, then one."""
    _run(engine, *_windows(nodes, minute, minute).split(";"))
    found = cost(lambda: settle(engine, _UTC), database)
    with engine.connect() as connection:
        booked = connection.execute(text(f"SELECT count(*) FROM posting WHERE hour_us = {_HOUR}")).scalar_one()
        assert booked == nodes * PODS
    return found


def _bare(engine: Engine, database: int) -> Cost:
    delete = f"DELETE FROM posting WHERE hour_us = {_HOUR}"
    return cost(lambda: _run(engine, "SET LOCAL work_mem = '64MB'", delete, _BARE), database)


def analyse(engine: Engine) -> None:
    """As autovacuum does it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _run(engine: Engine, *statements: str) -> None:
    with writing(engine) as connection:
        for statement in filter(str.strip, statements):
            connection.execute(text(statement))
