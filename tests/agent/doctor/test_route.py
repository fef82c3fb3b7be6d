"""The way to the collector is told step by step, and ends at the first that fails."""

import socket
from pathlib import Path

import pytest
from tests.certificates import Authority

from gputally.agent.credentials import PLAIN_TEXT, CredentialFiles
from gputally.agent.doctor.finding import Level
from gputally.agent.doctor.route import Route, judge, take
from gputally.agent.quantity import Address

HERE = Address("localhost", 9856)


@pytest.mark.parametrize(
    ("route", "lines"),
    [
        (Route(dns_error="Name or service not known"), [("collector-dns", Level.FAIL)]),
        (Route(("10.0.0.1",), tcp_error="timed out"), [("collector-dns", Level.OK), ("collector-tcp", Level.FAIL)]),
        (
            Route(("10.0.0.1",), distrust="certificate has expired"),
            [("collector-dns", Level.OK), ("collector-tcp", Level.OK), ("collector-tls", Level.FAIL)],
        ),
        (
            Route(("10.0.0.1",), tls="TLSv1.3"),
            [("collector-dns", Level.OK), ("collector-tcp", Level.OK), ("collector-tls", Level.OK)],
        ),
    ],
)
def test_every_step_that_was_gone_has_a_line(route: Route, lines: list[tuple[str, Level]]) -> None:
    found = list(judge(route, HERE))
    assert [(each.check, each.level) for each in found] == lines
    assert route.is_open is all(level is Level.OK for _, level in lines)


def test_a_name_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert take(HERE, PLAIN_TEXT) == Route(dns_error="Name or service not known")


def test_files_that_do_not_fit_are_ours_to_mend(tmp_path: Path) -> None:
    """A key of another certificate is told before anybody is blamed for it."""
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    certificate, _ = authority.issue(dns=["a"]).write(tmp_path, "one")
    _, key = authority.issue(dns=["a"]).write(tmp_path, "two")
    with socket.create_server(("localhost", 0)) as listener:
        port = listener.getsockname()[1]
        route = take(Address("localhost", port), CredentialFiles(tmp_path / "ca.crt", certificate, key))
    assert "mismatch" in route.files_error
    assert [each.level for each in judge(route, HERE)] == [Level.OK, Level.OK, Level.FAIL]
