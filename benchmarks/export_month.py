"""How long a month of N postings takes to export, and how much memory: the export of a large fleet is a stream.

    python benchmarks/export_month.py 1500000 [--format focus] [--database-url URL] [--folder FOLDER]

Without a URL the ledger is a SQLite file in FOLDER. Prints one line of JSON: rows, seconds, and by how many MiB the
process grew while it wrote; after it the same rows are read by one query and written bare, as the least that it takes.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, text

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import Basis, Reason, Source
from gputally.collector.database.coded import BASIS, REASON, SOURCE
from gputally.collector.database.engine import is_sqlite, open_database, writing
from gputally.collector.database.migrate import migrate
from gputally.collector.exports.focus import Options, write_focus
from gputally.collector.exports.garbage import seldom_looked_for
from gputally.collector.exports.lines_csv import write_csv
from gputally.collector.exports.parquet import write_parquet
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.statement.ground import Ground, ground
from gputally.collector.statement.month import parse_month

UTC = ZoneInfo("UTC")
MONTH = parse_month("2026-07", UTC)
HOURS = 744
MODEL = "NVIDIA H100 80GB HBM3"
NUMBERS = "WITH RECURSIVE n AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)"
NODES = "node (id, cluster, name) SELECT i + 1, 'east', 'node-' || i FROM n"
DEVICES = f"device (id, uuid, model) SELECT i + 1, 'GPU-' || i, '{MODEL}' FROM n"  # noqa: S608 - our own text
OWNERS = """
    owner (id, kind, namespace, pod, container, pod_uid, first_seen_us, "user", unit)
    SELECT i + 1, 'pod', 'ns-' || (i % 40), 'pod-' || i, 'main', 'uid-' || i, 0, '', '' FROM n
"""
[_HELD], [_PLAIN] = BASIS.codes([Basis.RESERVATION]), REASON.codes([Reason.NONE])
[_SAMPLED] = SOURCE.codes([Source.DEVICE_SAMPLES])
POSTINGS = f"""
    posting (hour_us, node_id, device_id, partition, owner_id, basis, reason, source, used_us, idle_us,
        unallocated_us, unavailable_us, unobserved_us, energy_dynamic_mj, profile)
    SELECT {MONTH.start_us} + (i / :devices) * {HOUR_US}, (i % :devices) / 8 + 1, i % :devices + 1, 'gpu',
        (i / :devices / 24) * :devices + i % :devices + 1, {_HELD}, {_PLAIN}, {_SAMPLED},
        (i * 2654435761) % {HOUR_US}, {HOUR_US} - (i * 2654435761) % {HOUR_US}, 0, 0, 0, i % 2520000, ''
    FROM n
"""  # noqa: S608 - our own text
CARD = b"""\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2026-01-01, per_gpu_hour: 3.337}
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2026-07-15, per_gpu_hour: 2.9}
energy:
  - {valid_from: 2026-01-01, per_kwh: 0.31, pue: 1.3}
"""


def make_ledger(engine: Engine, postings: int) -> int:
    """A month in which each device of a fleet is held by one pod a day; how many postings there are."""
    devices = max(1, postings // HOURS)
    migrate(engine)
    counts = (-(-devices // 8), devices, devices * 31, devices * HOURS)
    with writing(engine) as connection:
        for statement, count in zip((NODES, DEVICES, OWNERS, POSTINGS), counts, strict=True):
            numbers = NUMBERS.replace("0 AS i", "0 AS i" if is_sqlite(connection) else "0::bigint AS i")
            sql = f"INSERT INTO {statement}".replace("SELECT", f"{numbers} SELECT", 1)
            sizes = {"count": count, "devices": devices}
            connection.execute(text(sql), {name: size for name, size in sizes.items() if f":{name}" in sql})
    apply_file(engine, Kind.RATES, CARD, "bench", 1)
    return devices * HOURS


def _made(url: str, postings: int) -> int:
    engine = open_database(url)
    rows = make_ledger(engine, postings)
    engine.dispose()
    return rows


def export(found: Ground, form: str, path: Path) -> None:
    """Write a month in a format."""
    if form == "focus":
        write_focus(found, path, Options())
    elif form == "parquet":
        write_parquet(found, path)
    else:
        with path.open("w", encoding="utf-8", newline="") as out:
            write_csv(found, out)


def export_bare(engine: Engine, path: Path) -> None:
    """Every posting of the month with its names, by one query and Python's CSV writer: neither priced nor checked."""
    query = """
        SELECT * FROM posting JOIN node ON node.id = node_id JOIN device ON device.id = device_id
        JOIN owner ON owner.id = owner_id ORDER BY hour_us
    """
    with engine.connect() as connection, path.open("w", encoding="utf-8", newline="") as out:
        rows = connection.execution_options(stream_results=True).exec_driver_sql(query)
        csv.writer(out).writerows(rows)


def _written(path: Path, form: str, rows: int) -> int:
    """Rows of the file: FOCUS has several for one posting."""
    if form == "parquet":
        return rows
    with path.open("rb") as lines:
        return sum(1 for _ in lines) - 1


def _peak_mib() -> float:
    """The most that this program held so far; getrusage would tell that of whoever started it, where that held more."""
    (peak_kib,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(peak_kib) / 1024


def main() -> None:
    """Make the ledger, warm up with what every export loads, export, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("postings", type=int)
    parser.add_argument("--format", default="csv", choices=("csv", "focus", "parquet"))
    parser.add_argument("--database-url")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        url = given.database_url or f"sqlite:///{folder}/ledger.sqlite"
        # Elsewhere, for the memory that making it takes would hide what the export takes.
        with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
            rows = elsewhere.submit(_made, url, given.postings).result()
        engine = open_database(url)
        with seldom_looked_for(), ground(engine, UTC, MONTH) as found:  # as the command does
            before_mib = _peak_mib()
            start, cpu = time.perf_counter(), time.process_time()
            export(found, given.format, Path(folder) / "out")
            seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
        peak_mib = _peak_mib()
        grown = peak_mib - before_mib
        size, written = (Path(folder) / "out").stat().st_size, _written(Path(folder) / "out", given.format, rows)
        cpu = time.process_time()
        export_bare(engine, Path(folder) / "bare")
        bare_cpu_s = time.process_time() - cpu
        engine.dispose()
    costs = {"cpu_s": round(cpu_s, 3), "bare_cpu_s": round(bare_cpu_s, 3), "peak_mib": round(peak_mib, 1)}
    report = {
        "format": given.format,
        "rows": rows,
        "written": written,
        "seconds": round(seconds, 1),
        "grown_mib": round(grown, 1),
    }
    sys.stdout.write(json.dumps({**report, **costs, "file_mib": round(size / 2**20, 1)}) + "\n")


if __name__ == "__main__":
    main()
