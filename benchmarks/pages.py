"""What a page takes the server, beside its queries alone: the statements that it sends, sent again and only fetched."""

import asyncio
from collections.abc import Sequence
from typing import Any

from cpu import cost, in_turns
from disk import SERVER
from fastapi import FastAPI
from fleet import THOUSAND, Size, book_minutes, book_month
from month import ASKED_AT_US, application, get, is_question, listening
from sqlalchemy import Engine
from table import Figure, ratio_at_most
from tests.databases import running_postgres

from gputally.collector.database.engine import open_database, reading

_PAGES = ("/", "/idle", "/gpus", "/namespaces/ns-1", "/statement", "/workloads", "/about")


def figures(*, quick: bool) -> list[Figure]:
    """Each page of a fleet's month, wall milliseconds, in turns."""
    with running_postgres(SERVER) as server:
        engine = open_database(server.create(migrated=True))
        size = Size(50) if quick else THOUSAND
        book_month(engine, size)
        book_minutes(engine, size, ASKED_AT_US)
        with application(engine) as app:
            found = [_figure(engine, app, address, 3) for address in _PAGES]
        engine.dispose()
    return found


def _figure(engine: Engine, app: FastAPI, address: str, rounds: int) -> Figure:
    with listening(engine) as heard:
        asyncio.run(get(app, address))
    sent = [(sql, parameters) for _, sql, parameters in heard]
    asked = sum(is_question(sql) for sql, _ in sent)
    ours, least = in_turns(
        rounds, lambda: cost(lambda: asyncio.run(get(app, address))), lambda: cost(lambda: _repeat(engine, sent))
    )
    name = f"page {address}, {asked} queries"
    if not asked:  # the frame alone, which has no ceiling
        return Figure(name, ours.wall * 1000, "ms")
    return Figure(name, ours.wall * 1000, "ms", "its queries", least.wall * 1000, ratio_at_most(2))


def _repeat(engine: Engine, sent: Sequence[tuple[str, Any]]) -> None:
    """All of them in one transaction, by the driver alone; with what is set for them, as their plans rest on it."""
    with reading(engine) as connection:
        driver: Any = connection.connection.driver_connection
        for sql, parameters in sent:
            answer = driver.execute(sql, parameters)
            if is_question(sql):
                answer.fetchall()
