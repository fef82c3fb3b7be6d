"""The agent's HTTP server answers from the snapshot, whatever clients do."""

import http.client
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from gputally.agent import http as http_module
from gputally.agent.exposition.text import render
from gputally.agent.http import CannotListen, HttpServer
from gputally.agent.quantity import Address
from gputally.agent.snapshot import Snapshot

DEADLINE_S = 60


class Agent:
    """Something with a snapshot that tests replace."""

    def __init__(self) -> None:
        self.snapshot = Snapshot("n1", samples=1)


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def server(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    monkeypatch.setattr(http_module._Handler, "timeout", DEADLINE_S)  # nobody here is dropped for being slow
    server = HttpServer(Address("127.0.0.1", 0), lambda: agent.snapshot)
    server.start()
    yield server
    server.close()


def ask(server: HttpServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    connection.request(method, path)
    response = connection.getresponse()
    answer = (response.status, response.getheader("Content-Type", ""), response.read().decode())
    connection.close()
    return answer


def test_metrics_are_those_of_the_last_snapshot(server: HttpServer, agent: Agent) -> None:
    """Each scrape sees what the main thread published last."""
    assert ask(server, "/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", render(agent.snapshot).decode())
    agent.snapshot = Snapshot("n1", samples=2)
    assert "gputally_samples_total 2.0" in ask(server, "/metrics?name=x")[2]


def test_ready_or_one_line_a_reason(server: HttpServer, agent: Agent) -> None:
    """Alive does not mean ready, and not ready says why."""
    assert ask(server, "/readyz")[::2] == (200, "ready\n")
    agent.snapshot = Snapshot("n1", not_ready=("no GPU: is the driver loaded?", "the kubelet does not answer"))
    status, _, body = ask(server, "/readyz")
    assert (status, body) == (503, "no GPU: is the driver loaded?\nthe kubelet does not answer\n")
    assert ask(server, "/healthz")[::2] == (200, "alive\n")


def test_other_paths_and_methods_are_refused(server: HttpServer) -> None:
    """The 404 lists what there is."""
    assert ask(server, "/")[::2] == (404, "/metrics\n/healthz\n/readyz\n")
    assert ask(server, "/healthz", "POST")[0] == 501
    assert ask(server, "/healthz", "HEAD")[::2] == (200, "")


def test_clients_that_say_nothing_do_not_stop_the_others(server: HttpServer) -> None:
    """A few idle connections cost a slot each; more are dropped at once instead of piling up."""
    idle = [socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) for _ in range(8)]
    assert ask(server, "/healthz")[0] == 200
    idle += [socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) for _ in range(9)]
    dropped, _, _ = select.select(idle, (), (), DEADLINE_S)  # which, depends on when `ask` gave its slot back
    assert {connection.recv(1) for connection in dropped} == {b""}
    for connection in idle:
        connection.close()


def test_a_system_without_threads_costs_answers_and_no_slots(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has threads again, everybody is answered again."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        for _ in range(20):
            with pytest.raises((http.client.HTTPException, ConnectionError)):
                ask(server, "/healthz")
    assert ask(server, "/healthz")[0] == 200


def test_an_address_in_use_is_one_clear_line(server: HttpServer) -> None:
    """The message names the address and the flag."""
    with pytest.raises(CannotListen, match=rf"cannot listen on 127.0.0.1:{server.port}: .*--http-listen"):
        HttpServer(Address("127.0.0.1", server.port), lambda: Snapshot("n1"))


def test_ipv6_and_closing_before_starting() -> None:
    """main closes whatever it built; `:9855` listens on IPv6 and IPv4."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6; enable it in the kernel")
    server = HttpServer(Address("::", 0), lambda: Snapshot("n1"))
    server.start()
    assert ask(server, "/healthz")[0] == 200
    server.close()
    HttpServer(Address("127.0.0.1", 0), lambda: Snapshot("n1")).close()
