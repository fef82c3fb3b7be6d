"""What a month of a large fleet takes to ask for, end to end over HTTP without a socket, beside bare SQL.

The ceiling by namespace and by team is the sum over a table of sums for each day, namespace and model, which the bench
makes: the ledger has no such table. By workload it is the sum over the postings. Statements are beside the postings'
sum as well: they read each of them.

    PYTHONPATH=. python benchmarks/month.py --gpus 10000 --namespaces 1000
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import machine
from cpu import cost, in_turns
from disk import SERVER
from fastapi import FastAPI
from fleet import JULY, THOUSAND, Size, book_month
from sqlalchemy import Connection, Engine, event, text
from table import Figure, page, ratio_at_most
from tests.databases import running_postgres

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.api.app import make_app
from gputally.collector.api.desk import Desk
from gputally.collector.api.service import Service
from gputally.collector.auth.reader import Anybody
from gputally.collector.database.engine import open_database, reading, writing
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
_DAY_US = 24 * HOUR_US
_SUMS = ", ".join(
    f"sum({name}) AS {name}"
    for name in (
        *(f"{name}_us" for name in ("used", "idle", "unallocated", "unavailable", "unobserved")),
        *("energy_idle_mj", "energy_dynamic_mj"),
    )
)
_OF_MONTH = f"hour_us >= {JULY.start_us} AND hour_us < {JULY.end_us}"
_MAKE_DAYS = f"""
CREATE TABLE bench_day AS
  SELECT (hour_us - {JULY.start_us}) / {_DAY_US} AS day, namespace, model, {_SUMS}
  FROM posting JOIN owner ON owner.id = owner_id JOIN device ON device.id = device_id GROUP BY 1, 2, 3
"""  # noqa: S608 - our own names
_BARE_DAYS = f"SELECT namespace, {_SUMS} FROM bench_day GROUP BY 1"  # noqa: S608
_BARE_PODS = f"""
SELECT namespace, pod, {_SUMS} FROM posting JOIN owner ON owner.id = owner_id WHERE {_OF_MONTH} GROUP BY 1, 2
"""  # noqa: S608
_BARE_SUM = f"SELECT count(*), {_SUMS} FROM posting WHERE {_OF_MONTH}"  # noqa: S608


def figures(*, quick: bool, size: Size = THOUSAND, plans: Path | None = None) -> list[Figure]:
    """Wall milliseconds, in turns. Plans of what takes the database long go to the file `plans`."""
    size, rounds = (Size(50), 2) if quick else (size, 3)
    with running_postgres(SERVER) as server:
        engine = open_database(server.create(migrated=True))
        rows = book_month(engine, size)
        with writing(engine) as connection:
            connection.execute(text(_MAKE_DAYS))
        found = [_figure(rows, *asked, engine, rounds) for asked in _questions(engine)]
        if plans:
            plans.parent.mkdir(parents=True, exist_ok=True)
            plans.write_text("\n\n".join(_explained(engine)) + "\n")
        engine.dispose()
    return found


_Question = tuple[str, Callable[[], None], str, str, float | None]


def _questions(engine: Engine) -> list[_Question]:
    """Name, question, ceiling's name, its SQL, and the ratio that is wanted."""
    days = "SQL over sums of days"
    return [
        ("month by namespace, HTTP", lambda: ask(engine, f"{_BY}namespace"), days, _BARE_DAYS, 1.5),
        ("month by team, HTTP", lambda: ask(engine, f"{_BY}team"), days, _BARE_DAYS, 1.5),
        ("month by namespace and day, HTTP", lambda: ask(engine, f"{_BY}namespace&step=day"), days, _BARE_DAYS, None),
        (
            "month by workload (pod), HTTP",
            lambda: ask(engine, f"{_BY}namespace,pod"),
            "SQL over postings",
            _BARE_PODS,
            1.5,
        ),
        ("statement of the month, as a table", lambda: statement(engine), "sum of postings", _BARE_SUM, None),
    ]


def _figure(
    rows: int,
    name: str,
    question: Callable[[], None],
    ceiling: str,
    sql: str,
    most: float | None,
    engine: Engine,
    rounds: int,
) -> Figure:
    """Once before, so that both find the same warm cache."""
    question()
    _fetch(engine, sql)
    ours, least = in_turns(rounds, lambda: cost(question), lambda: cost(lambda: _fetch(engine, sql)))
    target = ratio_at_most(most) if most else None
    return Figure(f"{name}, {rows:,} postings", ours.wall * 1000, "ms", ceiling, least.wall * 1000, target)


def statement(engine: Engine) -> None:
    """`gputally statement show 2026-07`."""
    found = read_statement(engine, UTC, parse_month("2026-07", UTC))
    assert "team-11" in as_table(View(found.statement), None, None)


def ask(engine: Engine, address: str) -> None:
    """An address of the API, answered and serialised, without a socket."""
    with application(engine) as app:
        answer = asyncio.run(get(app, address)).json()
    assert answer["total"]["capacity_us"] > 0
    assert answer["unpriced_us"] == 0


@contextmanager
def application(engine: Engine) -> Iterator[FastAPI]:
    """The API and the pages over a ledger, in the last hour of its month."""
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


def _explained(engine: Engine) -> Iterator[str]:
    """The plans of what takes the database long, as each question asks it."""
    for name, question, _, bare, _ in _questions(engine):
        with listening(engine) as asked:
            question()
        with reading(engine) as connection:
            connection.execute(text("SET LOCAL work_mem = '128MB'"))
            for seconds, sql, parameters in [*asked, (1.0, bare, None)]:
                if seconds > _WORTH_A_PLAN_S and is_question(sql):
                    yield f"-- {name}\n{sql}\n\n{_plan(connection, sql, parameters)}"


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
