"""What a ledger takes: bytes of each kind of row with its keys, and how fast windows become rows and rows postings.

    PYTHONPATH=. python benchmarks/room.py [--nodes 50] [--minutes 120]

Windows of one minute with eight GPUs: four held throughout, four that fall free within the minute, 12 lines. They come
as messages, in groups as large as a busy writer's, to one thread. Both databases flush each commit to this machine's
disk. Postings of PostgreSQL are measured on the month of fleet.py. `--save FILE` keeps the page.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from fleet import book_month
from run import heading
from sqlalchemy import Engine, func, select, text
from tests.databases import running_postgres
from tests.windows import MINUTE_US, START_US, device, pod, reserved, unallocated, window

from gputally.accounting.line import Window
from gputally.collector.database.engine import is_sqlite, open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.database.schema import line, posting
from gputally.collector.database.schema import window as windows
from gputally.collector.ingest.admission import Received
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

UTC = ZoneInfo("UTC")
GROUP = 256  # windows of one transaction, as in the collector's writer
SERVER = "-c listen_addresses='' -c shared_buffers=1GB -c max_wal_size=4GB -c jit=off"
_OF_LINES = ("window", "window_device", "line")


def fleet_windows(nodes: int, minutes: int) -> Iterator[Window]:
    """A minute of all nodes, then the next one."""
    for minute in range(minutes):
        for number in range(nodes):
            yield _window(number, START_US + minute * MINUTE_US)


def _window(number: int, start_us: int) -> Window:
    parts = []
    for gpu in range(8):
        owner = pod(f"ns-{number % 40}", f"pod-{number}-{gpu}")
        held = MINUTE_US if gpu % 2 else MINUTE_US // 2
        lines = [reserved(owner, held * 3 // 4, held // 4, energy_mj=held // 100)]
        lines += [unallocated(MINUTE_US - held)] if held < MINUTE_US else []
        parts.append(device(*lines, uuid=f"GPU-{number:08x}-0000-4000-8000-{gpu:012x}"))
    return window(*parts, node=f"node-{number}", start_us=start_us)


def messages(content: Iterator[Window]) -> list[bytes]:
    """The windows as agents send them."""
    return [codec.encode(each, f"agent-{each.node}", "boot", at) for at, each in enumerate(content, start=1)]


def ingest(engine: Engine, sent: Sequence[bytes]) -> float:
    """Decode and commit all of it; the seconds that it takes."""
    committer, left, began = Committer(engine, UTC, max_age_us=None), iter(sent), time.perf_counter()
    while group := [_received(message) for message in islice(left, GROUP)]:
        outcomes = committer.commit(group, START_US + 10_000 * MINUTE_US)
        assert not any(outcome.refusal for outcome in outcomes)
    return time.perf_counter() - began


def _received(message: bytes) -> Received:
    parsed = pb.Window.FromString(message)
    return Received(message, codec.decode(parsed), parsed.agent_id, parsed.boot_id, parsed.sequence, parsed.end_us)


def measure(engine: Engine, sent: Sequence[bytes]) -> Iterator[str]:
    """Lines of the page on one database."""
    took = ingest(engine, sent)
    began = time.perf_counter()
    settle(engine, UTC)
    settled = time.perf_counter() - began
    with reading(engine) as connection:
        counts = {
            table: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (windows, line, posting)
        }
    yield f"windows committed a second, decoding included      {counts[windows] / took:>9,.0f}"
    yield f"lines of them                                      {counts[line] / took:>9,.0f}"
    yield f"lines summed into postings a second                {counts[line] / settled:>9,.0f}"
    taken = sizes(engine)
    room = sum(taken[table] for table in _OF_LINES)
    yield f"bytes of a window with its devices and lines       {room / counts[windows]:>9,.0f}"
    yield f"bytes for each of its lines                        {room / counts[line]:>9,.0f}"
    yield f"bytes of a posting                                 {taken['posting'] / counts[posting]:>9,.0f}"


def sizes(engine: Engine) -> dict[str, int]:
    """Bytes of each table with its indexes."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if is_sqlite(engine):
            query = "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_schema USING (name) GROUP BY 1"
        else:
            connection.execute(text("VACUUM ANALYZE"))
            query = "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind IN ('r', 'p')"
        return {name: int(size) for name, size in connection.execute(text(query))}


def posting_bytes(engine: Engine) -> str:
    """The line of the page on postings of a month."""
    count = book_month(engine)
    return f"bytes of a posting, of a month of {count:,}      {sizes(engine)['posting'] / count:>9,.0f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    page = "\n".join(_page(messages(fleet_windows(given.nodes, given.minutes))))
    sys.stdout.write(page + "\n")
    if given.save:
        given.save.write_text(page + "\n")


def _page(sent: Sequence[bytes]) -> Iterator[str]:
    yield f"{heading()}\n\n{len(sent):,} windows of 8 GPUs and 12 lines, {len(sent[0]):,} bytes each on the wire"
    with running_postgres(SERVER) as server:
        engine = open_database(server.create(migrated=True))
        yield "\nPostgreSQL"
        yield from measure(engine, sent)
        engine.dispose()
        engine = open_database(server.create(migrated=True))
        yield posting_bytes(engine)
        engine.dispose()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{folder}/gputally.sqlite")
        migrate(engine)
        yield "\nSQLite"
        yield from measure(engine, sent)
        engine.dispose()


if __name__ == "__main__":
    main()
