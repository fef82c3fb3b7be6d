"""The way to the collector is told step by step, and ends at the first that fails."""

import socket
from pathlib import Path

import pytest
from tests.agent.doctor.doors import Doors
from tests.certificates import Authority

from gputally.agent.credentials import PLAIN_TEXT, CredentialFiles
from gputally.agent.doctor.finding import Level
from gputally.agent.doctor.route import Route, judge, take
from gputally.agent.probe.main import wall_us
from gputally.agent.quantity import Address

HERE = Address("localhost", 9856)
DAY_S = 86_400


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
            Route(("10.0.0.1",), tls="TLSv1.3", left_s=31 * DAY_S, life_s=397 * DAY_S),
            [("collector-dns", Level.OK), ("collector-tcp", Level.OK), ("collector-tls", Level.OK)],
        ),
    ],
)
def test_every_step_that_was_gone_has_a_line(route: Route, lines: list[tuple[str, Level]]) -> None:
    found = list(judge(route, HERE))
    assert [(each.check, each.level) for each in found] == lines
    assert route.is_open is all(level is Level.OK for _, level in lines)


@pytest.mark.parametrize(
    ("left_s", "life_s", "words"),
    [
        (29 * DAY_S, 397 * DAY_S, "good for 29 days more"),
        (8 * DAY_S, 90 * DAY_S, "good for 8 days more"),
        (29 * DAY_S, 90 * DAY_S, ""),  # what renews it has begun a moment ago
        (2 * 3600, DAY_S, "good for 2 h more"),
        (3 * 3600, DAY_S, ""),
    ],
)
def test_a_certificate_is_told_of_before_it_ends(left_s: int, life_s: int, words: str) -> None:
    """Afterwards nothing arrives any more. Those that live for hours are renewed within hours."""
    *_, told = judge(Route(("10.0.0.1",), tls="TLSv1.3", left_s=left_s, life_s=life_s), HERE)
    assert told.level is (Level.WARN if words else Level.OK)
    assert words in told.found


def test_how_long_the_certificate_is_good_is_read_of_it(tmp_path: Path) -> None:
    doors = Doors(tmp_path)
    try:
        route = take(Address("localhost", doors.mutual), doors.files(doors.authority.issue(dns=["node"])), wall_us)
    finally:
        doors.close()
    assert route.life_s == 3 * DAY_S
    assert DAY_S - 60 < route.left_s <= DAY_S
    assert not route.is_ending


def test_a_name_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert take(HERE, PLAIN_TEXT, wall_us) == Route(dns_error="Name or service not known")


def test_files_that_do_not_fit_are_ours_to_mend(tmp_path: Path) -> None:
    """A key of another certificate is told before anybody is blamed for it."""
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    certificate, _ = authority.issue(dns=["a"]).write(tmp_path, "one")
    _, key = authority.issue(dns=["a"]).write(tmp_path, "two")
    with socket.create_server(("localhost", 0)) as listener:
        port = listener.getsockname()[1]
        route = take(Address("localhost", port), CredentialFiles(tmp_path / "ca.crt", certificate, key), wall_us)
    assert "mismatch" in route.files_error
    assert [each.level for each in judge(route, HERE)] == [Level.OK, Level.OK, Level.FAIL]
