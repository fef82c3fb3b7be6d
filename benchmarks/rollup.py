"""An hour of 120,000 lines summed into postings, beside one statement that does the same for all nodes at once."""

from zoneinfo import ZoneInfo

from cpu import Cost, cost, in_turns, middle
from disk import SERVER
from serving import postmaster
from sqlalchemy import Engine, text
from table import Figure, ratio_at_most
from tests.databases import running_postgres

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import Basis, Reason, Source
from gputally.collector.database.coded import BASIS, REASON, SOURCE
from gputally.collector.database.engine import open_database, writing
from gputally.collector.database.schema import AMOUNTS, MEMOS
from gputally.collector.ledger.postings import settle

NODES, MINUTES, LINES = 125, 60, 16
HOUR = 1_782_864_000_000_000
_MODEL = "NVIDIA H100 80GB HBM3"
[_HELD], [_PLAIN] = BASIS.codes([Basis.RESERVATION]), REASON.codes([Reason.NONE])
[_SAMPLED] = SOURCE.codes([Source.DEVICE_SAMPLES])
_FILL = f"""
INSERT INTO node (id, cluster, name) SELECT n, 'bench', 'node-' || n FROM generate_series(1, {NODES}) n;
INSERT INTO device (id, uuid, model) SELECT n, 'GPU-' || n, '{_MODEL}' FROM generate_series(1, {NODES * LINES}) n;
INSERT INTO owner (id, kind, namespace, pod, container, pod_uid, first_seen_us, "user", unit)
  SELECT n, 'pod', 'ns-' || n % 40, 'pod-' || n, 'main', 'uid-' || n, 0, '', ''
  FROM generate_series(1, {NODES * LINES}) n;
INSERT INTO "window" (id, node_id, start_us, end_us, content_hash, agent_id, boot_id, sequence, skipped_us, waited_us,
  accepted_us)
  SELECT m * {NODES} + n, n, {HOUR} + m * 60000000::bigint, {HOUR} + (m + 1) * 60000000::bigint, sha256('x'), 'a', 'b',
    m, 0, 0, {HOUR} FROM generate_series(0, {MINUTES - 1}) m, generate_series(1, {NODES}) n;
INSERT INTO line (window_id, position, device_id, partition, owner_id, basis, reason, source, used_us, idle_us,
  unallocated_us, unavailable_us, unobserved_us, energy_idle_mj, energy_dynamic_mj,
  profile, memory_byte_s)
  SELECT m * {NODES} + n, p, (n - 1) * {LINES} + p + 1, 'gpu', (n - 1) * {LINES} + p + 1, {_HELD}, {_PLAIN},
    {_SAMPLED}, 20000000 + m * n * p, 40000000 - m * n * p, 0, 0, 0, 4200000 + p, 16800000 + n, '',
    2061584302080 FROM generate_series(0, {MINUTES - 1}) m, generate_series(1, {NODES}) n,
    generate_series(0, {LINES - 1}) p
"""  # noqa: S608 - our own numbers
_MARK = f"INSERT INTO dirty_hour (hour_us, node_id) SELECT {HOUR}, n FROM generate_series(1, {NODES}) n"  # noqa: S608
_ROOM = "SET LOCAL work_mem = '64MB'"  # as the roll-up gives itself; PostgreSQL's own is 4 MB
_KEY = "device_id, partition, owner_id, basis, reason, profile"
_SUMMED = ", ".join((*AMOUNTS, *MEMOS))
_BARE = f"""
INSERT INTO posting (hour_us, node_id, {_KEY}, source, {_SUMMED})
  SELECT {HOUR}, node_id, {_KEY}, max(source), {", ".join(f"sum({name})" for name in (*AMOUNTS, *MEMOS))}
  FROM "window" w JOIN line ON line.window_id = w.id
  WHERE w.start_us >= {HOUR} AND w.start_us < {HOUR + HOUR_US} GROUP BY node_id, {_KEY}
"""  # noqa: S608 - our own names


def figures(*, quick: bool) -> list[Figure]:
    """CPU time of this process and the server, in turns."""
    with running_postgres(SERVER) as server:
        url = server.create(migrated=True)
        engine, database = open_database(url), postmaster(url)
        _run(engine, *_FILL.split(";"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        _ours(engine, database), _bare(engine, database)
        rounds = 3 if quick else 7
        ours, least = in_turns(rounds, lambda: _ours(engine, database), lambda: _bare(engine, database))
        roomy = middle([_bare(engine, database, _ROOM) for _ in range(rounds)])
        engine.dispose()
    ceiling = "one statement"
    return [
        Figure(
            "roll-up of an hour, 120,000 lines",
            ours.cpu * 1000,
            "CPU ms",
            ceiling,
            least.cpu * 1000,
            ratio_at_most(2),
            True,
        ),
        Figure("the same", ours.cpu * 1000, "CPU ms", "one statement in as much memory", roomy.cpu * 1000),
        Figure("the same, as it is waited for", ours.wall * 1000, "ms", ceiling, least.wall * 1000, ratio_at_most(2)),
    ]


def _ours(engine: Engine, database: int) -> Cost:
    _run(engine, _MARK)
    found = cost(lambda: settle(engine, ZoneInfo("UTC")), database)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM posting")).scalar_one() == NODES * LINES
    return found


def _bare(engine: Engine, database: int, *before: str) -> Cost:
    return cost(lambda: _run(engine, *before, "DELETE FROM posting", _BARE), database)


def _run(engine: Engine, *statements: str) -> None:
    with writing(engine) as connection:
        for statement in filter(str.strip, statements):
            connection.execute(text(statement))
