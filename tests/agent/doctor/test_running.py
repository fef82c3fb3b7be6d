"""What an agent that runs says of itself is repeated; another program on its port is noticed."""

import socket
import threading

import pytest
from tests.ports import OwnPort

from gputally.agent.doctor import running
from gputally.agent.doctor.finding import Level
from gputally.agent.doctor.running import Page, ask, judge
from gputally.agent.http import HttpServer
from gputally.agent.quantity import Address
from gputally.agent.snapshot import Snapshot

HERE = Address("0.0.0.0", 9855)
OURS = "gputally-agent "


@pytest.mark.parametrize(
    ("page", "lines"),
    [
        (Page(), [(Level.OK, "none answers on 0.0.0.0:9855: what stands here is what one would find")]),
        (Page(200, OURS, ("ready",)), [(Level.OK, "it answers on 0.0.0.0:9855, and is ready")]),
        (Page(503, OURS, ("a", "b")), [(Level.FAIL, "not ready: a"), (Level.FAIL, "not ready: b")]),
        (Page(200, "nginx"), [(Level.WARN, "something else answers on 0.0.0.0:9855")]),
        (Page(-1, "timed out"), [(Level.WARN, "something else answers on 0.0.0.0:9855")]),
    ],
)
def test_each_thing_that_the_agent_lacks_is_a_line(page: Page, lines: list[tuple[Level, str]]) -> None:
    assert [(each.level, each.found) for each in judge(page, HERE)] == lines


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers here is only kept waiting by what else this machine does."""
    monkeypatch.setattr(running, "_TIMEOUT_S", 60.0)


def test_an_agent_that_listens_everywhere_is_asked_on_this_machine() -> None:
    own, said = OwnPort(), Snapshot("n", not_ready=("the driver is released …: who",))
    server = HttpServer(Address("0.0.0.0", own.number), lambda: said)
    server.start()
    page = ask(Address("0.0.0.0", server.port))
    server.close()
    assert (page.status, page.lines, page.releases_driver) == (503, ("the driver is released …: who",), True)
    assert page.server.startswith("gputally-agent")
    assert ask(Address("0.0.0.0", server.port)) == Page()


def test_what_speaks_no_http_and_port_0_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(60)
        port = other.getsockname()[1]

        def talk() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        assert ask(Address("127.0.0.1", port)).status == -1
        thread.join()
    assert ask(Address("127.0.0.1", 0)) == Page()
