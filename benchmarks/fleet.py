"""A month of a fleet, straight into postings on PostgreSQL: two for each device and hour, which sum to that hour.

Each device is held by another pod each day, for a part of each hour; the rest is nobody's. Eight pods at a time are one
job of their namespace, which runs for four days. Prices change in the middle of the month, and so does the team of a
fifth of the namespaces. Sums of days are made as the collector makes them of a ledger that it finds.
"""

# ruff: noqa: S608 - the statements are put together from the numbers below, and from nothing else
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, text

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import Basis, Reason, Source
from gputally.collector.allocation.period import Period
from gputally.collector.database.coded import BASIS, REASON, SOURCE
from gputally.collector.database.engine import writing
from gputally.collector.days.upkeep import Days
from gputally.collector.files.applied import Kind, apply_file

GPUS_PER_NODE, TEAMS, DAYS = 8, 12, 31
JULY = Period(1_782_864_000_000_000, 1_785_542_400_000_000)  # of 2026, UTC
MIDDLE = "2026-07-15"
MINUTE_US = 60_000_000
CARD = b"""\
version: 1
currency: EUR
models:
  h100: [NVIDIA H100 80GB HBM3]
  a100: [NVIDIA A100-SXM4-80GB]
prices:
  - {match: {model: h100}, valid_from: 2026-01-01, per_gpu_hour: 3.60}
  - {match: {model: h100}, valid_from: 2026-07-15, per_gpu_hour: 3.337}
  - {match: {model: a100}, valid_from: 2026-01-01, per_gpu_hour: 1.90}
energy:
  - {valid_from: 2026-01-01, per_kwh: 0.25, pue: 1.3}
"""

_ONE_PRICE = b"".join(line for line in CARD.splitlines(keepends=True) if MIDDLE.encode() not in line)
_NOBODYS, _HELD = BASIS.codes([Basis.NONE, Basis.RESERVATION])
[_PLAIN] = REASON.codes([Reason.NONE])
[_SAMPLED] = SOURCE.codes([Source.DEVICE_SAMPLES])


@dataclass(frozen=True, slots=True)
class Size:
    """How large the fleet is, and for how many days up to the end of July its postings are kept."""

    gpus: int = 1000
    namespaces: int = 40
    days: int = DAYS

    @property
    def start_us(self) -> int:
        """When the first day begins."""
        return JULY.end_us - self.days * 24 * HOUR_US


THOUSAND = Size()


def _names(size: Size) -> str:
    return f"""
INSERT INTO node (id, cluster, name)
  SELECT n, 'bench', 'node-' || n FROM generate_series(1, {-(-size.gpus // GPUS_PER_NODE)}) n;
INSERT INTO device (id, uuid, model)
  SELECT n, 'GPU-' || n, CASE WHEN n % 4 = 0 THEN 'NVIDIA A100-SXM4-80GB' ELSE 'NVIDIA H100 80GB HBM3' END
  FROM generate_series(1, {size.gpus}) n;
INSERT INTO owner (id, kind, namespace, pod, container, pod_uid, first_seen_us, "user", unit)
  SELECT n, 'pod', 'ns-' || (n * 7 + n / {size.gpus}) % {size.namespaces}, 'pod-' || n, 'main', 'uid-' || n, 0, '', ''
  FROM generate_series(1, {size.gpus * size.days}) n;
INSERT INTO owner (id, kind, namespace, pod, container, pod_uid, first_seen_us, "user", unit)
  VALUES (0, 'platform', '', '', '', '', 0, '', '');
INSERT INTO pod_workload (cluster, pod_uid, namespace, pod, label, kind, name, evidence, rule, complete, sources, facts,
    resource_version, created_us, first_seen_us, last_seen_us)
  SELECT 'bench', pod_uid, namespace, pod, 'job.batch/' || name, 'Job', name, 'owner', 'bench', 1, '[]', '[]', 1, at_us,
    at_us, at_us
  FROM (
    SELECT *, 'train-' || (id - 1) / {size.gpus} / 4 || '-' || (id - 1) % {size.gpus} / {8 * size.namespaces} AS name,
      {size.start_us} + (id - 1) / {size.gpus} * {24 * HOUR_US} AS at_us
    FROM owner WHERE kind = 'pod') pods;
"""


def _held(size: Size) -> str:
    """Each held hour has another length and another use, as even as a hash makes them."""
    return f"""
CREATE TEMP TABLE held AS
  SELECT {size.start_us} + h * {HOUR_US} AS hour_us, (d - 1) / {GPUS_PER_NODE} + 1 AS node_id, d AS device_id,
    h / 24 * {size.gpus} + d AS owner_id, {HOUR_US} / 2 + (h * 2654435761 + d * 40503) % ({HOUR_US} / 2) AS held_us,
    (h * 40503 + d * 2654435761) % ({HOUR_US} / 2) AS used_us
  FROM generate_series(0, {size.days * 24 - 1}::bigint) h, generate_series(1, {size.gpus}::bigint) d;
"""


_COLUMNS = """
INSERT INTO posting (hour_us, node_id, device_id, partition, owner_id, basis, reason, source, used_us, idle_us,
  unallocated_us, unavailable_us, unobserved_us, energy_idle_mj, energy_dynamic_mj)
"""
_POSTINGS = f"""
{_COLUMNS}
  SELECT hour_us, node_id, device_id, 'gpu', owner_id, {_HELD}, {_PLAIN}, {_SAMPLED}, used_us, held_us - used_us,
    0, 0, 0, held_us * 7 / 100000, used_us * 63 / 100000 FROM held;
{_COLUMNS}
  SELECT hour_us, node_id, device_id, 'gpu', 0, {_NOBODYS}, {_PLAIN}, {_SAMPLED}, 0, 0,
    {HOUR_US} - held_us, 0, 0, ({HOUR_US} - held_us) * 7 / 100000, NULL FROM held;
"""
_HOURS_THAT_DO_NOT_SUM = f"""
SELECT count(*) FROM (
  SELECT 1 FROM posting GROUP BY hour_us, device_id
  HAVING sum(used_us + idle_us + unallocated_us + unavailable_us + unobserved_us) <> {HOUR_US}) wrong
"""


def book_month(engine: Engine, size: Size = THOUSAND) -> int:
    """Fill a migrated PostgreSQL database; how many postings there are, whose states sum to the fleet's hours."""
    with writing(engine) as connection:
        for script in (_names(size), _held(size), _POSTINGS):
            for statement in filter(str.strip, script.split(";")):
                connection.execute(text(statement))
        count = _checked(connection, size)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))  # as autovacuum has done by the end of a month
    sum_days(engine, size.days)
    apply_file(engine, Kind.RATES, CARD, "bench", 1)
    apply_file(engine, Kind.TEAMS, _teams(size), "bench", 1)
    return count


def book_minutes(engine: Engine, size: Size, until_us: int, minutes: int = 10) -> None:
    """Windows of each node up to an instant of the last day, in which each tenth device is held and idle."""
    with writing(engine) as connection:
        for statement in filter(str.strip, _minutes(size, until_us, minutes).split(";")):
            connection.execute(text(statement))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text('VACUUM ANALYZE "window", line'))


def _minutes(size: Size, until_us: int, minutes: int) -> str:
    nodes = -(-size.gpus // GPUS_PER_NODE)
    used_us = f"CASE WHEN d % 10 = 0 THEN 0 ELSE {MINUTE_US} / 2 END"
    return f"""
INSERT INTO "window" (id, node_id, start_us, end_us, content_hash, agent_id, boot_id, sequence, skipped_us, waited_us,
    accepted_us)
  SELECT m * {nodes} + n, n, at_us, at_us + {MINUTE_US}, '', 'agent', 'boot', m, 0, 0, at_us + {MINUTE_US}
  FROM (SELECT n, m, {until_us} - (m + 1) * {MINUTE_US} AS at_us
    FROM generate_series(1, {nodes}) n, generate_series(0::bigint, {minutes - 1}) m) found;
INSERT INTO line (window_id, position, device_id, owner_id, partition, basis, reason, source, used_us, idle_us,
    unallocated_us, unavailable_us, unobserved_us, memory_byte_s)
  SELECT m * {nodes} + (d - 1) / {GPUS_PER_NODE} + 1, (d - 1) % {GPUS_PER_NODE}, d,
    {(size.days - 1) * size.gpus} + d, 'gpu', {_HELD}, {_PLAIN}, {_SAMPLED}, {used_us}, {MINUTE_US} - {used_us},
    0, 0, 0, 60 * (1::bigint << 34)
  FROM generate_series(1, {size.gpus}) d, generate_series(0, {minutes - 1}) m;
"""


def sum_days(engine: Engine, count: int) -> None:
    """Sum the days, and seal those that are over in the month's last hour."""
    now_us = JULY.end_us - HOUR_US
    days = Days(engine, ZoneInfo("UTC"), lambda: now_us)
    for _ in range(count + 1):
        days.turn()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE posting_day, namespace_day, place"))


def end_month(engine: Engine) -> None:
    """The month is over: its last day is sealed and its own sums are made, and no price changed within it."""
    Days(engine, ZoneInfo("UTC"), lambda: JULY.end_us).turn()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE namespace_day, namespace_month, place"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM summed_month")).scalar_one() == 1
    apply_file(engine, Kind.RATES, _ONE_PRICE, "bench", 2)


def _checked(connection: Connection, size: Size) -> int:
    assert connection.execute(text(_HOURS_THAT_DO_NOT_SUM)).scalar_one() == 0
    count: int = connection.execute(text("SELECT count(*) FROM posting")).scalar_one()
    assert count == 2 * size.gpus * size.days * 24
    return count


def _teams(size: Size) -> bytes:
    def entry(number: int, team: int, since: str) -> str:
        return f"  - {{namespace: ns-{number}, team: team-{team % TEAMS}, valid_from: {since}}}\n"

    entries = [entry(number, number, "2026-01-01") for number in range(size.namespaces)]
    entries += [entry(number, number + 1, MIDDLE) for number in range(0, size.namespaces, 5)]
    return ("version: 1\nnamespaces:\n" + "".join(entries)).encode()
