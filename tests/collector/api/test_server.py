"""Over a socket: /metrics, /healthz and /readyz beside the API or on a port of their own, until it is closed."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import Engine
from starlette.types import ASGIApp
from tests.collector.api.fixtures import TOKENS, application

from gputally.collector.address import Address
from gputally.collector.api.app import make_app
from gputally.collector.api.server import HttpServer
from gputally.collector.api.status import Standing, status_app, status_routes

ANY_PORT = Address("127.0.0.1", 0)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def registry() -> CollectorRegistry:
    found = CollectorRegistry()
    Gauge("answer", "An answer.", registry=found).set(42)
    return found


def ask(app: ASGIApp, *paths: str, **headers: str) -> list[httpx.Response]:
    """The answers of a server that runs for as long as it is asked."""

    async def run() -> list[httpx.Response]:
        server = HttpServer(app, ANY_PORT, "--http-listen")
        server.start()
        try:
            async with httpx.AsyncClient(
                base_url=f"http://{server.address.text}", headers=headers, timeout=60
            ) as client:
                return [await client.get(path) for path in paths]
        finally:
            await server.close()

    return asyncio.run(run())


def test_metrics_come_as_text_or_as_openmetrics() -> None:
    app = status_app(registry(), Standing)
    (plain,) = ask(app, "/metrics", Accept="")
    assert "answer 42.0\n" in plain.text
    (open_metrics,) = ask(app, "/metrics", Accept=OPENMETRICS)
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")


def test_it_is_ready_when_nothing_keeps_it_from_working_and_alive_whatever_does() -> None:
    problems: list[str] = []
    app = status_app(registry(), lambda: Standing(problems))
    assert [(answer.status_code, answer.text) for answer in ask(app, "/readyz", "/healthz")] == [
        (200, "ready\n"),
        (200, "ok\n"),
    ]
    problems += ["the database is away", "the writer has ended"]
    assert [(answer.status_code, answer.text) for answer in ask(app, "/readyz", "/healthz?x")] == [
        (503, "the database is away\nthe writer has ended\n"),
        (200, "ok\n"),
    ]


def test_a_part_that_only_a_restart_brings_back_asks_for_one() -> None:
    """A database that is away comes back by itself; a thread that has ended does not."""
    app = status_app(registry(), lambda: Standing(["the writer has ended"], (), "the writer has ended"))
    (answer,) = ask(app, "/healthz")
    assert (answer.status_code, answer.text) == (503, "the writer has ended\n")


def test_a_part_that_intake_does_not_wait_for_is_told_and_keeps_nobody_out() -> None:
    """All replicas have the same Kubernetes API: were they not ready without it, its outage would stop the intake."""
    troubles = ["the cluster's pods cannot be followed: away"]
    app = status_app(registry(), lambda: Standing((), troubles))
    (answer,) = ask(app, "/readyz")
    assert (answer.status_code, answer.text) == (200, "ready\nthe cluster's pods cannot be followed: away\n")


def test_any_other_path_says_what_there_is() -> None:
    (answer,) = ask(status_app(registry(), Standing), "/")
    assert (answer.status_code, "/metrics" in answer.text) == (404, True)


def test_beside_the_api_the_totals_are_for_those_who_see_all(engine: Engine) -> None:
    with application(engine, TOKENS) as plain:
        app = make_app(plain.state.service, status=status_routes(registry(), Standing, TOKENS))
        statuses = {}
        for token in ("nobody", "search", "all"):
            found = ask(app, "/metrics", "/healthz", Authorization=f"Bearer {token}")
            statuses[token] = [answer.status_code for answer in found]
    assert statuses == {"nobody": [401, 200], "search": [403, 200], "all": [200, 200]}


def test_a_port_that_is_taken_is_an_error_that_names_it_and_its_flag() -> None:
    server = HttpServer(status_app(registry(), Standing), ANY_PORT, "--http-listen")
    with pytest.raises(OSError, match=rf"cannot listen on {server.address.text} \(--metrics-listen\)"):
        HttpServer(status_app(registry(), Standing), server.address, "--metrics-listen")
    asyncio.run(server.close())


def test_what_is_being_answered_when_it_stops_is_answered() -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: object, receive: object, send: Callable[..., object]) -> None:
        entered.set()
        await go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[misc]
        await send({"type": "http.response.body", "body": b"done"})  # type: ignore[misc]

    async def run() -> str:
        server = HttpServer(slow, ANY_PORT, "--http-listen")  # type: ignore[arg-type]
        server.start()
        async with httpx.AsyncClient(base_url=f"http://{server.address.text}", timeout=60) as client:
            answer = asyncio.create_task(client.get("/"))
            await entered.wait()
            closing = asyncio.create_task(server.close())
            go.set()
            text = (await answer).text
        await closing
        return text

    assert asyncio.run(asyncio.wait_for(run(), 60)) == "done"
