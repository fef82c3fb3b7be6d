"""The HTTP side says whether the collector works, in a way that Kubernetes and Prometheus read."""

from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from prometheus_client import CollectorRegistry, Gauge

from gputally.collector.settings import Address
from gputally.collector.status import StatusServer

ANY_PORT = Address("127.0.0.1", 0)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def server(problems: list[str]) -> Iterator[StatusServer]:
    registry = CollectorRegistry()
    Gauge("answer", "An answer.", registry=registry).set(42)
    server = StatusServer(ANY_PORT, registry, lambda: problems)
    server.start()
    yield server
    server.close()


def get(server: StatusServer, path: str, accept: str = "") -> tuple[int, str, str]:
    connection = HTTPConnection(server.address.host, server.address.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def test_metrics_come_as_text_or_as_openmetrics(server: StatusServer) -> None:
    assert "answer 42.0\n" in get(server, "/metrics")[2]
    status, content_type, body = get(server, "/metrics", OPENMETRICS)
    assert (status, content_type.partition(";")[0]) == (200, "application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_it_is_ready_when_nothing_keeps_it_from_working(server: StatusServer, problems: list[str]) -> None:
    assert get(server, "/readyz")[::2] == (200, "ready\n")
    problems += ["the database is away", "the ledger is behind"]
    assert get(server, "/readyz")[::2] == (503, "the database is away\nthe ledger is behind\n")


def test_it_is_alive_whatever_the_problems(server: StatusServer, problems: list[str]) -> None:
    problems.append("the database is away")
    assert get(server, "/healthz?verbose")[::2] == (200, "ok\n")


def test_any_other_path_says_what_there_is(server: StatusServer) -> None:
    status, _, body = get(server, "/")
    assert status == 404
    assert "/metrics" in body


def test_a_port_that_is_taken_is_an_error_that_names_it(server: StatusServer) -> None:
    with pytest.raises(OSError, match=rf"cannot listen on {server.address.text} \(--http-listen\)"):
        StatusServer(server.address, CollectorRegistry(), list)


def test_closing_what_never_started_is_harmless() -> None:
    StatusServer(ANY_PORT, CollectorRegistry(), list).close()
