"""What a month of a large fleet takes to ask for, beside the bare sum of the same rows in the same run."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from fleet import GPUS, JULY, book_month
from sqlalchemy import Connection, Engine, event, text
from tests.databases import running_postgres

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.api.app import make_app
from gputally.collector.api.desk import Desk
from gputally.collector.api.service import Service
from gputally.collector.auth.reader import Anybody
from gputally.collector.database.engine import open_database, reading
from gputally.collector.exports.statement_table import as_table
from gputally.collector.statement.month import parse_month
from gputally.collector.statement.read import read_statement
from gputally.collector.statement.view import View

UTC = ZoneInfo("UTC")
ROUNDS = 3
ASKED_AT_US = JULY.end_us - HOUR_US  # in the last hour of the month
ALLOCATION = "/api/v1/allocation?window=month&aggregate=namespace&step=day"
SERVER = "-c fsync=off -c listen_addresses='' -c shared_buffers=1GB -c max_wal_size=4GB -c jit=off"
_WORTH_A_PLAN_S = 0.05
_COLUMNS = (
    *(f"{name}_us" for name in ("used", "idle", "unallocated", "unavailable", "unobserved")),
    *("energy_idle_mj", "energy_dynamic_mj"),
)
_FLOOR = text(
    f"SELECT count(*), {', '.join(f'sum({name})' for name in _COLUMNS)} "  # noqa: S608 - our own names
    f"FROM posting WHERE hour_us >= {JULY.start_us} AND hour_us < {JULY.end_us}"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A question and its floor, wall seconds."""

    subject: str
    subject_s: float
    floor_s: float

    @property
    def ratio(self) -> float:
        """How many times its floor the question takes."""
        return self.subject_s / self.floor_s


def measure(plans: Path | None) -> str:
    """The page's part on the month. Query plans go to the file `plans`; skips, saying so, without a PostgreSQL."""
    with running_postgres(SERVER) as server:
        engine = open_database(server.create(migrated=True))
        rows = book_month(engine)
        found = [
            _compare(engine, "statement by team, as a table", lambda: statement(engine)),
            _compare(engine, "allocation by namespace and day, over HTTP", lambda: allocation(engine)),
        ]
        if plans:
            plans.parent.mkdir(parents=True, exist_ok=True)
            plans.write_text("\n\n".join(_explained(engine)) + "\n")
        engine.dispose()
    return _page(rows, found)


def statement(engine: Engine) -> None:
    """`gputally statement show 2026-07`."""
    found = read_statement(engine, UTC, parse_month("2026-07", UTC))
    assert "team-11" in as_table(View(found.statement), None, None)


def allocation(engine: Engine) -> None:
    """The address of the API, answered and serialised, without a socket."""
    desk = Desk()
    app = make_app(Service(engine, UTC, Anybody(), desk, lambda: ASKED_AT_US))

    async def ask() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://bench") as client:
            return (await client.get(ALLOCATION, params=None)).raise_for_status().json()

    try:
        answer = asyncio.run(ask())
    finally:
        desk.close()
    assert answer["total"]["capacity_us"] == GPUS * (JULY.end_us - JULY.start_us)
    assert answer["unpriced_us"] == 0


def floor(engine: Engine) -> None:
    """The bare sum of the month's rows."""
    with reading(engine) as connection:
        connection.execute(_FLOOR).one()


def _compare(engine: Engine, subject: str, work: Callable[[], None]) -> Figure:
    """Measure in turns; once before, so that both find the same warm cache."""
    work()
    pairs = [(_wall_s(work), _wall_s(lambda: floor(engine))) for _ in range(ROUNDS)]
    return Figure(subject, median(a for a, _ in pairs), median(b for _, b in pairs))


def _wall_s(work: Callable[[], None]) -> float:
    start_ns = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - start_ns) / 1e9


def _explained(engine: Engine) -> Iterator[str]:
    """The plans of what takes the database long, as each question asks it."""
    questions = (("statement by team", statement), (ALLOCATION, allocation), ("the floor", floor))
    for name, question in questions:
        with _listening(engine) as asked:
            question(engine)
        with reading(engine) as connection:
            connection.execute(text("SET LOCAL work_mem = '128MB'"))
            for seconds, sql, parameters in asked:
                if seconds > _WORTH_A_PLAN_S and sql.lstrip().upper().startswith(("SELECT", "WITH")):
                    yield f"-- {name}\n{sql}\n\n{_plan(connection, sql, parameters)}"


def _plan(connection: Connection, sql: str, parameters: Any) -> str:
    rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", parameters)
    return "\n".join(row[0] for row in rows)


@contextmanager
def _listening(engine: Engine) -> Iterator[list[tuple[float, str, Any]]]:
    """The statements of a block with the seconds until their first row."""
    asked: list[tuple[float, str, Any]] = []

    def before(*_: Any) -> None:
        asked.append((time.perf_counter(), "", None))

    def after(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        asked[-1] = (time.perf_counter() - asked[-1][0], sql, parameters)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "after_cursor_execute", after)


def _page(rows: int, found: list[Figure]) -> str:
    head = f"{f'a month of {GPUS:,} GPUs on PostgreSQL':<50} {'wall s':>9} {'bare sum, s':>12} {'ratio':>7}"
    lines = [f"{one.subject:<50} {one.subject_s:>9.2f} {one.floor_s:>12.2f} {one.ratio:>7.1f}" for one in found]
    return "\n".join([head, *lines, "", f"postings: {rows:,}", ""])
