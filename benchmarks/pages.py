"""What a page takes the server, beside its queries alone: the statements that it sends, sent again and only fetched.

Those that a cursor of the driver's own sends are among them: SQLAlchemy does not tell of these.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from cpu import cost, in_turns
from disk import SERVER
from fastapi import FastAPI
from fleet import JULY, THOUSAND, Size, book_minutes, book_month
from month import ASKED_AT_US, application, get, is_question, listening
from psycopg import ServerCursor
from sqlalchemy import Engine, insert, text
from table import Figure, ratio_at_most
from tests.databases import running_postgres

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.database.schema_queue import local_queue, queue_quota

_PAGES = ("/", "/idle", "/gpus", "/namespaces/ns-1", "/statement", "/workloads", "/queues", "/about")
_QUEUES = 12  # with a quota; each namespace but every fourth has a LocalQueue that leads into one of them
_CLAIMS = """
UPDATE pod_workload SET queue = 'jobs', sources = '{"queue": "label kueue.x-k8s.io/queue-name"}'
WHERE namespace IN (SELECT namespace FROM local_queue)
"""


def figures(*, quick: bool) -> list[Figure]:
    """Each page of a fleet's month, wall milliseconds, in turns."""
    with running_postgres(SERVER) as server:
        engine = open_database(server.create(migrated=True))
        size = Size(50) if quick else THOUSAND
        book_month(engine, size)
        book_minutes(engine, size, ASKED_AT_US)
        _book_queues(engine, size)
        with application(engine) as app:
            found = [_figure(engine, app, address, 3) for address in _PAGES]
        engine.dispose()
    return found


def _figure(engine: Engine, app: FastAPI, address: str, rounds: int) -> Figure:
    with listening(engine) as heard, _cursors(heard):
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


def _book_queues(engine: Engine, size: Size) -> None:
    """Queues whose quotas are the fleet, and the pods of most namespaces in them."""
    since = {"cluster": "bench", "valid_from_us": JULY.start_us - HOUR_US, "resource_version": 1, "recorded_us": 1}
    quota = {"system": "kueue", "resource": "nvidia.com/gpu", "flavor": "", "nominal": size.gpus // _QUEUES}
    quotas = [{**since, **quota, "queue": f"queue-{at}", "uid": f"queue-{at}"} for at in range(_QUEUES)]
    led = [at for at in range(size.namespaces) if at % 4]
    ways = [{"namespace": f"ns-{at}", "uid": f"jobs-{at}", "cluster_queue": f"queue-{at % _QUEUES}"} for at in led]
    with writing(engine) as connection:
        connection.execute(insert(queue_quota), quotas)
        connection.execute(insert(local_queue), [{**since, "name": "jobs", **way} for way in ways])
        connection.execute(text(_CLAIMS))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE queue_quota, local_queue, pod_workload"))


@contextmanager
def _cursors(heard: list[tuple[float, str, Any]]) -> Iterator[None]:
    """Hear the statements of cursors that have a name, too."""
    execute = ServerCursor.execute

    def hear(cursor: ServerCursor[Any], query: Any, *rest: Any, **named: Any) -> ServerCursor[Any]:
        heard.append((0.0, query, None))
        return execute(cursor, query, *rest, **named)

    with patch.object(ServerCursor, "execute", hear):
        yield


def _repeat(engine: Engine, sent: Sequence[tuple[str, Any]]) -> None:
    """All of them in one transaction, by the driver alone; with what is set for them, as their plans rest on it."""
    with reading(engine) as connection:
        driver: Any = connection.connection.driver_connection
        for sql, parameters in sent:
            answer = driver.execute(sql, parameters)
            if is_question(sql):
                answer.fetchall()
