"""The database's bad days, on a real PostgreSQL: away, cut in a commit, in a deadlock. All comes through, once."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Table, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from tests.collector.test_main import ANY_PORTS, Collector, environment, start
from tests.collector.test_writer import NOW_US, Answers
from tests.programs import Running, module, running, wait_until
from tests.proxy import Proxy
from tests.send_spool import BOOT_ID, FOREVER_US, MAX_BYTES
from tests.windows import START_US, all_received, minutes

from gputally.agent.probe.main import wall_us
from gputally.agent.spool.spool import Spool
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.schema import dirty_hour, line, namespace_total, node
from gputally.collector.database.schema import window as window_table
from gputally.collector.ingest import writer
from gputally.collector.ingest.admission import ACCEPTED, DUPLICATE
from gputally.collector.ingest.commit import Committer
from gputally.collector.ingest.writer import Writer

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite has no server to lose

SENDER = Path(__file__).parent.parent / "send_spool.py"
DEADLINE_S = 60
BACKLOG = 2500  # windows: more than the queue, the group in hand and the batches on their way hold together


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(writer, "_FIRST_RETRY_S", 0.001)


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """The way to the database, to be cut."""
    folder = make_url(database_url).query["host"]
    with Proxy(f"{folder}/.s.PGSQL.5432") as found:
        yield found


@pytest.fixture
def proxied_url(database_url: str, proxy: Proxy) -> str:
    """The same database, through the proxy."""
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/{make_url(database_url).database}"


@pytest.fixture
def proxied(proxied_url: str) -> Iterator[Engine]:
    found = open_database(proxied_url)
    yield found
    found.dispose()


def count(engine: Engine, table: Table) -> int:
    """Rows of a table."""
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def assert_counted_once(engine: Engine, windows: int) -> None:
    """Lines and totals of so many windows, each of 45 s used."""
    assert (count(engine, window_table), count(engine, line)) == (windows, windows)
    with reading(engine) as connection:
        assert connection.execute(select(namespace_total.c.used_us)).scalar_one() == windows * 45_000_000


@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_cut_in_the_commit_costs_nothing(
    engine: Engine, proxied: Engine, proxy: Proxy, committed: bool
) -> None:
    """Whether the server had committed already cannot be known: the group comes again, and is known or accepted."""
    cut = threading.Event()

    def cut_once(connection: Connection) -> None:
        if not cut.is_set():
            cut.set()
            if committed:
                connection.connection.driver_connection.commit()  # type: ignore[union-attr]
            proxy.cut()
            if committed:
                raise OperationalError("COMMIT", {}, Exception("the server's answer never came"))

    event.listen(proxied, "commit", cut_once)
    answers = Answers()
    under_test = Writer(Committer(proxied, UTC, None), lambda: NOW_US, 100)
    for each in all_received(minutes(20)):
        assert under_test.submit(each, answers)
    under_test.start()
    assert answers.wait_for(20) == [DUPLICATE if committed else ACCEPTED] * 20
    assert under_test.close(DEADLINE_S)
    assert under_test.stats().failures == 1
    assert_counted_once(engine, 20)


def test_a_deadlock_is_tried_again(engine: Engine, database_url: str) -> None:
    """The server ends one of two transactions that wait for each other; the writer begins anew."""
    Committer(engine, UTC, None).commit(all_received(minutes(1)), NOW_US)
    answers = Answers()
    under_test = Writer(Committer(engine, UTC, None), lambda: NOW_US, 100)
    other, at_the_mark = open_database(database_url), threading.Event()

    def be_the_second(_connection: object, _cursor: object, sql: str, *_rest: object) -> None:
        if sql.startswith("INSERT") and "dirty_hour" in sql and not at_the_mark.is_set():
            at_the_mark.set()
            wait_until(lambda: _waiting_for_locks(engine), DEADLINE_S, "the other to wait for the node")

    event.listen(engine, "before_cursor_execute", be_the_second)
    with other.connect() as connection, connection.begin():
        # The server looks for a circle once, a while after somebody began to wait: the writer, who waits second.
        connection.execute(text("SET deadlock_timeout = '600s'"))
        connection.execute(dirty_hour.update().values(hour_us=dirty_hour.c.hour_us))
        for each in all_received(minutes(20)):
            assert under_test.submit(each, answers)
        under_test.start()
        assert at_the_mark.wait(DEADLINE_S)
        connection.execute(text("SELECT id FROM node FOR UPDATE"))  # which the writer holds
    assert answers.wait_for(20) == [DUPLICATE] + [ACCEPTED] * 19
    assert under_test.stats().failures == 1
    assert under_test.close(DEADLINE_S)
    assert_counted_once(engine, 20)
    other.dispose()


def _waiting_for_locks(engine: Engine) -> bool:
    with reading(engine) as connection:
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(connection.execute(waiting).scalar_one())


def spooled(folder: Path, node: str, windows: int) -> Path:
    """A spool with so many minutes of a node."""
    spool = Spool(folder, BOOT_ID, MAX_BYTES, FOREVER_US, wall_us)
    spool.append(minutes(windows, node=node, first_us=START_US))
    spool.close()
    return folder


@pytest.mark.timeout(600)
def test_while_the_database_is_away_agents_keep_their_windows(
    engine: Engine, proxied_url: str, proxy: Proxy, tmp_path: Path
) -> None:
    """The collector stays up and stops reading; when the database is back everything arrives, and an agent with one
    new window need not wait for one with days of old ones."""
    with ExitStack() as stack:
        command = module("gputally.collector.main", "--database-url", proxied_url, *ANY_PORTS)
        options = ("--line-retention-days", "0")
        process = stack.enter_context(running([*command, *options], tmp_path / "log", environment(tmp_path)))
        collector = start(process)
        proxy.refuse()
        proxy.cut()
        old = _send(stack, spooled(tmp_path / "old", "old", BACKLOG), collector)
        wait_until(lambda: collector.get("/readyz")[0] == 503, DEADLINE_S, "not to be ready")
        wait_until(lambda: _metric(collector, "writer_full_total") > 0, DEADLINE_S, "a full queue")
        assert collector.get("/healthz")[0] == 200
        assert _metric(collector, "writer_queued_windows") <= 512
        assert _metric(collector, "ingest_windows_total") < BACKLOG
        new = _send(stack, spooled(tmp_path / "new", "new", 1), collector)
        wait_until(lambda: _metric(collector, "ingest_streams") == 2, DEADLINE_S, "both agents")
        proxy.refuse(False)
        assert new.process.wait(DEADLINE_S) == 0, new.log
        # The sender gives up in the end; what it has left then is still in its spool.
        assert old.process.wait(3 * DEADLINE_S) == 0, old.log
        rest = _send(stack, tmp_path / "old", collector)
        assert rest.process.wait(3 * DEADLINE_S) == 0, rest.log
        assert json.loads(rest.log.splitlines()[-1])["drained"], rest.log
        # Whatever looked at the database in vain says so until its next look.
        wait_until(lambda: collector.get("/readyz")[0] == 200, DEADLINE_S, f"to be ready\n{process.log}")
        assert "Traceback" not in process.log, "an outage is told in a line"
    assert_counted_once(engine, BACKLOG + 1)
    assert _committed(engine, func.min, "new") < _committed(engine, func.max, "old"), "it came while old ones waited"


def _committed(engine: Engine, which: Callable[..., Any], name: str) -> int:
    """The number of a node's first or last window, in the order in which they were committed."""
    of_node = select(which(window_table.c.id)).join(node).where(node.c.name == name)
    with reading(engine) as connection:
        return int(connection.execute(of_node).scalar_one())


def _send(stack: ExitStack, spool: Path, to: Collector) -> Running:
    log = next(path for at in range(9) if not (path := spool.with_suffix(f".{at}.log")).exists())
    return stack.enter_context(running([sys.executable, str(SENDER), str(spool), to.grpc], log))


def _metric(collector: Collector, name: str) -> float:
    rows = collector.get("/metrics")[1].splitlines()
    return next(float(row.split()[1]) for row in rows if row.startswith(f"gputally_{name} "))
