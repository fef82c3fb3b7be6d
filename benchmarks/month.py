"""What a month of a large fleet takes to ask for, end to end over HTTP without a socket, beside bare SQL.

The server works for each with one process: what its parallel workers take is lost where they end before it is counted.
The ceiling by namespace and by team is the sum over the ledger's own table of sums by day and namespace, and for the
day that runs over its sums of postings by day; by workload over these alone. It has the same columns, by name and
nothing else, where an answer must tell apart what has a price of its own. Statements are beside the postings' own sum.

The month still runs, its last day by its postings' sums, and prices change in the middle of it: it is read by days.
Only the last row is of a month that is over and has one price, which is read from sums of its own.

    PYTHONPATH=. python benchmarks/month.py --gpus 10000 --namespaces 1000
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import httpx
import machine
from cpu import cost, in_turns
from disk import SERVER
from fastapi import FastAPI
from fleet import JULY, THOUSAND, Size, book_month, end_month
from serving import postmaster
from sqlalchemy import Connection, Engine, event, text
from table import Figure, page, ratio_at_most
from tests.databases import running_postgres

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import Basis
from gputally.collector.api.app import make_app
from gputally.collector.api.desk import Desk
from gputally.collector.api.service import Service
from gputally.collector.auth.reader import Anybody
from gputally.collector.database.coded import BASIS
from gputally.collector.database.engine import open_database, reading
from gputally.collector.days.places import MEMORY_BITS
from gputally.collector.exports.statement_table import as_table
from gputally.collector.statement.month import parse_month
from gputally.collector.statement.read import read_statement
from gputally.collector.statement.register import status_of
from gputally.collector.statement.view import View
from gputally.collector.web.routes import page_routes

UTC = ZoneInfo("UTC")
ASKED_AT_US = JULY.end_us - HOUR_US  # in the last hour of the month
_BY = "/api/v1/allocation?window=month&aggregate="
_WORTH_A_PLAN_S = 0.05
[_HELD] = BASIS.codes([Basis.RESERVATION])
_DAYS = f"day_us >= {JULY.start_us} AND day_us < {JULY.end_us}"
_COLUMNS = (
    "used_us",
    "idle_us",
    "unallocated_us",
    "unavailable_us",
    "unobserved_us",
    "energy_idle_mj",
    "energy_dynamic_mj",
)
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in _COLUMNS)
_ALL = (
    *_COLUMNS,
    *("burst_us", "intruder_us", "gap_us", "quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us"),
)
_ALL_SUMS = ", ".join(f"sum({name}) AS {name}" for name in _ALL)
_OF_MONTH = f"hour_us >= {JULY.start_us} AND hour_us < {JULY.end_us}"


def _sums_of_days(keys: str, grouped: str) -> str:
    """The sums of sealed days by place, and those of the other days by owner."""
    return f"""
SELECT {keys}, {_ALL_SUMS}, sum(reserved_us), sum(memory_high), sum(memory_low) FROM (
  SELECT {keys}, {", ".join(_ALL)}, reserved_us, memory_high, memory_low
  FROM namespace_day JOIN place ON place.id = place_id WHERE {_DAYS}
  UNION ALL
  SELECT {keys}, {", ".join(_ALL)},
    CASE WHEN basis = {_HELD} THEN used_us + idle_us + unobserved_us ELSE 0 END,
    memory_byte_s >> {MEMORY_BITS}, memory_byte_s & {(1 << MEMORY_BITS) - 1}
  FROM posting_day JOIN owner ON owner.id = owner_id
  WHERE {_DAYS} AND day_us IN (SELECT day_us FROM summed_day WHERE sealed = 0)
) found GROUP BY {grouped}
"""  # noqa: S608 - our own names


_BARE_WORKLOADS = f"""
SELECT o.namespace, coalesce(label, 'pod/' || o.pod), {_ALL_SUMS}, sum(memory_byte_s)
FROM posting_day JOIN node ON node.id = node_id JOIN owner o ON o.id = owner_id
LEFT JOIN pod_workload w ON w.cluster = node.cluster AND w.pod_uid = o.pod_uid AND w.namespace = o.namespace
WHERE {_DAYS} GROUP BY 1, 2
"""  # noqa: S608
_BARE_SUM = f"SELECT count(*), {_SUMS} FROM posting WHERE {_OF_MONTH}"  # noqa: S608


def figures(*, quick: bool, size: Size = THOUSAND, plans: Path | None = None) -> list[Figure]:
    """Wall milliseconds, in turns. Plans of what takes the database long go to the file `plans`."""
    size, rounds = (Size(50), 2) if quick else (size, 3)
    with running_postgres(f"{SERVER} -c max_parallel_workers_per_gather=0") as server:
        engine = open_database(server.create(migrated=True))
        rows = book_month(engine, size)
        with application(engine) as app:
            found = [figure for asked in _questions(engine, app) for figure in _figures(rows, asked, engine, rounds)]
            if plans:
                plans.parent.mkdir(parents=True, exist_ok=True)
                plans.write_text("\n\n".join(_explained(engine, app)) + "\n")
            end_month(engine)
            found += _figures(rows, _of_the_past(app), engine, rounds)
        engine.dispose()
    return found


class _Question(NamedTuple):
    """What is asked, beside which SQL, and the ratio that is wanted."""

    name: str
    ask: Callable[[], None]
    ceiling: str
    sql: str
    most: float | None = None


def _questions(engine: Engine, app: FastAPI) -> list[_Question]:
    days, bare = "SQL over sums of days", _sums_of_days("namespace", "1")
    by_day = _sums_of_days("namespace, day_us", "1, 2")
    return [
        _Question("month by namespace, HTTP", asking(app, f"{_BY}namespace"), days, bare, 1.5),
        _Question("month by team, HTTP", asking(app, f"{_BY}team"), days, bare, 1.5),
        _Question("month by namespace and day, HTTP", asking(app, f"{_BY}namespace&step=day"), days, by_day),
        _Question("month by workload, HTTP", asking(app, f"{_BY}workload"), days, _BARE_WORKLOADS, 1.5),
        _Question("statement of the month, as a table", lambda: statement(engine), "sum of postings", _BARE_SUM, 2),
    ]


def _of_the_past(app: FastAPI) -> _Question:
    """Of a month that is over, in which no price changed: it has sums of its own, and still stands beside its days."""
    address = f"{_BY}namespace".replace("window=month", "window=2026-07")
    ceiling = "SQL over sums of days", _sums_of_days("namespace", "1")
    return _Question("month that is over, at one price, HTTP", asking(app, address), *ceiling, 1.5)


def _figures(rows: int, question: _Question, engine: Engine, rounds: int) -> list[Figure]:
    """Once before, so that both find the same warm cache. CPU time is this process's and the server's."""
    question.ask()
    _fetch(engine, question.sql)
    server = postmaster(engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
    ours, least = in_turns(
        rounds, lambda: cost(question.ask, server), lambda: cost(lambda: _fetch(engine, question.sql), server)
    )
    target = ratio_at_most(question.most) if question.most else None
    name, ceiling = f"{question.name}, {rows:,} postings", question.ceiling
    return [
        Figure(name, ours.wall * 1000, "ms", ceiling, least.wall * 1000, target),
        Figure("the same, CPU with the database's", ours.cpu * 1000, "CPU ms", ceiling, least.cpu * 1000),
    ]


def statement(engine: Engine) -> None:
    """`gputally statement show 2026-07`."""
    found = read_statement(engine, UTC, parse_month("2026-07", UTC))
    assert "team-11" in as_table(View(found.statement), None, None)


def asking(app: FastAPI, address: str) -> Callable[[], None]:
    """Asks an address of the API, without a socket, for its answer as it is sent. That is read once, here: what a
    client makes of it is not ours."""
    answer = asyncio.run(get(app, address)).json()
    assert answer["total"]["capacity_us"] > 0
    assert answer["unpriced_us"] == 0

    def ask() -> None:
        asyncio.run(get(app, address))

    return ask


@contextmanager
def application(engine: Engine) -> Iterator[FastAPI]:
    """The API and the pages over a ledger, in the last hour of its month."""
    gc.collect()
    gc.freeze()  # as the collector does when it has started
    desk = Desk()
    service = Service(engine, UTC, Anybody(), desk, lambda: ASKED_AT_US, status_of, deadline_s=600)
    try:
        yield make_app(service, status=page_routes(service))
    finally:
        desk.close()


async def get(app: FastAPI, address: str) -> httpx.Response:
    """The answer; an error raises."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench") as client:
        return (await client.get(address, timeout=None)).raise_for_status()


def _fetch(engine: Engine, sql: str) -> None:
    with reading(engine) as connection:
        connection.exec_driver_sql(sql).fetchall()


def _explained(engine: Engine, app: FastAPI) -> Iterator[str]:
    """The plans of what takes the database long, as each question asks it."""
    for question in _questions(engine, app):
        with listening(engine) as asked:
            question.ask()
        with reading(engine) as connection:
            connection.execute(text("SET LOCAL work_mem = '128MB'"))
            for seconds, sql, parameters in [*asked, (1.0, question.sql, None)]:
                if seconds > _WORTH_A_PLAN_S and is_question(sql):
                    yield f"-- {question.name}\n{sql}\n\n{_plan(connection, sql, parameters)}"


def is_question(sql: str) -> bool:
    """Whether a statement reads."""
    return sql.lstrip().upper().startswith(("SELECT", "WITH"))


def _plan(connection: Connection, sql: str, parameters: Any) -> str:
    rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", parameters)
    return "\n".join(row[0] for row in rows)


@contextmanager
def listening(engine: Engine) -> Iterator[list[tuple[float, str, Any]]]:
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


def main() -> None:
    """Measure a fleet of another size, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, default=THOUSAND.gpus)
    parser.add_argument("--namespaces", type=int, default=THOUSAND.namespaces)
    parser.add_argument("--plans", type=Path)
    given = parser.parse_args()
    machine.on_few_cores()
    found = figures(quick=False, size=Size(given.gpus, given.namespaces), plans=given.plans)
    sys.stdout.write(f"{machine.heading()}\n{page(found)}")


if __name__ == "__main__":
    main()
