"""Knocking at the collector's door tells who it takes us for and what its clock says, and sends it nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.doctor.doors import NOW_US, Doors
from tests.certificates import Authority, Pair
from tests.collector_fake import FakeCollector

from gputally.agent.credentials import PLAIN_TEXT, CredentialFiles
from gputally.agent.doctor.door import Reply, judge, knock, skew
from gputally.agent.doctor.finding import Level
from gputally.agent.doctor.route import take
from gputally.agent.quantity import Address

LATE_US = 7_000_000


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    doors = Doors(tmp_path_factory.mktemp("doors"))
    yield doors
    doors.close()


def levels(reply: Reply) -> list[tuple[Level, str]]:
    return [(each.level, each.found) for each in judge(reply, "prod", "gpu-1")]


def test_a_collector_tells_the_node_that_the_certificate_names_and_its_clock(doors: Doors) -> None:
    files = doors.files(doors.authority.issue(uris=["gputally://prod/gpu-1"]))
    reply = knock(f"localhost:{doors.mutual}", files, lambda: NOW_US - LATE_US)
    assert reply == Reply("OK", "", LATE_US, ("prod", "gpu-1"))
    assert levels(reply) == [(Level.OK, "let in as prod/gpu-1")]


@pytest.mark.parametrize(
    ("collector_us", "behind_us"),
    [(90, -10), (100, 0), (104, 0), (110, 0), (117, 7)],
)
def test_a_slow_answer_is_no_skew(collector_us: int, behind_us: int) -> None:
    """It was asked at 100 and had answered at 110; its clock was read at some time between."""
    assert skew(collector_us, 100, 110) == behind_us


def test_a_certificate_of_another_node_is_let_in_and_told_of(doors: Doors) -> None:
    """The door opens, and each window would be refused: that is what knocking is for."""
    files = doors.files(doors.authority.issue(uris=["gputally://prod/gpu-2"]))
    ((level, found),) = levels(knock(f"localhost:{doors.mutual}", files, lambda: NOW_US))
    assert level is Level.FAIL
    assert found == ("the collector knows us as prod/gpu-2, and we count for prod/gpu-1: every window will be refused")


def test_a_certificate_of_another_cluster_is_refused_in_the_collectors_words(doors: Doors) -> None:
    files = doors.files(doors.authority.issue(uris=["gputally://dev/gpu-1"]))
    reply = knock(f"localhost:{doors.mutual}", files, lambda: NOW_US)
    assert reply.code == "PERMISSION_DENIED"
    ((level, found),) = levels(reply)
    assert (level, "refused: the certificate is of cluster dev" in found) == (Level.FAIL, True)


@pytest.mark.parametrize(
    "issue",
    [lambda _: None, lambda _: Authority("stranger").issue(uris=["gputally://prod/gpu-1"])],
    ids=["none", "a stranger's"],
)
def test_a_certificate_that_tls_does_not_take_is_told_by_tls(
    doors: Doors, issue: Callable[[Doors], Pair | None]
) -> None:
    """TLS 1.3 ends its handshake before it looks at our certificate: we wait for what comes after."""
    route = take(Address("localhost", doors.mutual), doors.files(issue(doors)), lambda: NOW_US)
    assert not route.is_open
    assert route.tls_error


def test_a_collector_that_asks_nobody_says_so(doors: Doors) -> None:
    reply = knock(f"localhost:{doors.plain}", PLAIN_TEXT, lambda: NOW_US)
    assert reply == Reply("OK", "", 0, None)
    assert levels(reply) == [(Level.OK, "let in; the collector asks nobody who they are (--agent-auth none)")]


def test_knocking_sends_no_window_and_counts_as_nothing(doors: Doors) -> None:
    knock(f"localhost:{doors.plain}", PLAIN_TEXT, lambda: NOW_US)
    assert not doors.writer.queue
    stats = doors.ingest.stats()
    assert (stats.batches, stats.windows, stats.turned_away) == (0, 0, 0)


def test_an_older_collector_lets_in_and_tells_nothing() -> None:
    """Neighbouring versions talk to each other: what it does not say is not held against it."""
    collector = FakeCollector()
    collector.start()
    try:
        reply = knock(collector.address, PLAIN_TEXT, lambda: NOW_US)
    finally:
        collector.stop()
    assert reply == Reply("OK")
    assert levels(reply) == [(Level.OK, "let in; the collector is too old to say as whom")]


def test_what_is_no_collector_and_what_fails_is_told(tmp_path: Path) -> None:
    assert levels(Reply("UNIMPLEMENTED", "Method not found!"))[0][0] is Level.FAIL
    assert levels(Reply("UNAVAILABLE", "the API gives no answer")) == [
        (Level.FAIL, "UNAVAILABLE: the API gives no answer")
    ]
    missing = CredentialFiles(token_file=tmp_path / "token")
    ((level, found),) = levels(knock("localhost:1", missing, lambda: NOW_US))
    assert (level, "our credentials cannot be used" in found) == (Level.FAIL, True)
