"""The agent's proofs: read again at each connection, renewed without a restart, and never shown."""

from collections.abc import Iterator
from concurrent import futures
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from tests.agent.test_stream import Pauses, wait_until
from tests.certificates import Authority, replace_file
from tests.collector_fake import FakeCollector
from tests.spools import Clock, open_spool, recent

from gputally.agent.credentials import PLAIN_TEXT, CredentialFiles, CredentialsUnusable
from gputally.agent.stream import Stream
from gputally.proto import telemetry_pb2_grpc as rpc
from gputally.proto.certificate import validity


class TlsCollector(FakeCollector):
    """The fake collector behind mutual TLS; remembers what was sent along with each stream."""

    def __init__(self, authority: Authority) -> None:
        super().__init__()
        self.presented: list[tuple[str, bytes]] = []  # authorization, certificate
        pair = authority.issue(dns=["localhost"])
        self._tls = grpc.ssl_server_credentials([(pair.key, pair.certificate)], authority.pem, require_client_auth=True)

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def start(self) -> None:
        server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        rpc.add_TelemetryServicer_to_server(self, server)
        self.port = server.add_secure_port("localhost:0", self._tls)
        server.start()
        self._server = server

    def Stream(self, request_iterator, context):  # type: ignore[no-untyped-def]  # noqa: N802
        metadata = dict(context.invocation_metadata())
        self.presented.append((metadata.get("authorization", ""), context.auth_context()["x509_pem_cert"][0]))
        yield from super().Stream(request_iterator, context)


class World:
    """An agent's files, a spool, a stream, and a collector that asks for all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        self.clock = Clock()
        self.spool = open_spool(folder / "spool", self.clock)
        self.collector = TlsCollector(self.authority)
        self.collector.start()
        self.pauses = Pauses()
        ca = replace_file(folder / "ca.crt", self.authority.pem)
        token = replace_file(folder / "token", b"the.first.token\n")
        self.files = CredentialFiles(ca, *self.authority.issue(dns=["gpu-1"]).write(folder, "node"), token)
        self.stream = Stream(
            self.spool, self.collector.address, self.clock, lambda: 42, lambda: 0.5, self.pauses, self.files
        )

    def send(self, windows: int = 1) -> None:
        self.spool.append(recent(self.clock, windows))
        wait_until(lambda: self.spool.pending()[0] == 0)

    def tokens(self) -> list[str]:
        return [authorization for authorization, _ in self.collector.presented]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "spool").mkdir()
    world = World(tmp_path)
    yield world
    world.stream.close(0)
    world.collector.stop()
    world.spool.close()


def test_certificate_and_token_are_shown_and_windows_arrive(world: World) -> None:
    world.stream.start()
    world.send()
    authorization, certificate = world.collector.presented[0]
    assert authorization == "Bearer the.first.token"
    assert certificate.strip() == (world.folder / "node.crt").read_bytes().strip()


def test_a_rotated_token_begins_a_new_stream_and_loses_nothing(world: World) -> None:
    """Kubernetes rotates the file at four fifths of a token's life, long before the old one ends."""
    world.stream.start()
    world.send(3)
    replace_file(world.folder / "token", b"the.second.token")
    world.send(2)
    assert world.tokens() == ["Bearer the.first.token", "Bearer the.second.token"]
    assert sorted(sequence for _, sequence in world.collector.ledger.windows) == [1, 2, 3, 4, 5]
    assert world.collector.ledger.duplicates == 0
    assert world.pauses.asked_s == []
    assert world.stream.state.error == ""


def test_a_rotated_certificate_begins_a_new_stream(world: World) -> None:
    world.stream.start()
    world.send()
    new = world.authority.issue(dns=["gpu-1"], ends_in=timedelta(days=9))
    new.write(world.folder, "node")
    world.send()
    wait_until(lambda: len({certificate for _, certificate in world.collector.presented}) == 2)
    assert world.stream.state.certificate == validity(new.certificate), "its end is what /metrics tells"
    assert world.collector.ledger.duplicates == 0
    assert world.stream.state.error == ""


def test_a_collector_of_another_authority_gets_nothing(world: World) -> None:
    """Whoever stands between learns neither token nor usage; with the right authority in the file it goes on."""
    replace_file(world.folder / "ca.crt", Authority("stranger").pem)
    world.spool.append(recent(world.clock, 1))
    world.stream.start()
    world.pauses.wait_for(1)
    assert "UNAVAILABLE" in world.stream.state.error
    assert world.collector.presented == []
    replace_file(world.folder / "ca.crt", world.authority.pem)
    world.pauses.end()
    wait_until(lambda: world.spool.pending()[0] == 0)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("token", b"", "token holds no token"),
        ("token", b"two\nlines", "token holds no token"),
        ("token", b"\xff\xfe", "token holds no token"),
        ("ca.crt", b"nothing", "ca.crt holds no PEM"),
        ("node.key", None, "cannot read"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_tried_again(
    world: World, name: str, content: bytes | None, words: str
) -> None:
    """The agent counts on, and its windows wait in the spool."""
    good = (world.folder / name).read_bytes()
    if content is None:
        (world.folder / name).unlink()
    else:
        replace_file(world.folder / name, content)
    world.spool.append(recent(world.clock, 1))
    world.stream.start()
    world.pauses.wait_for(1)
    assert words in world.stream.state.error
    replace_file(world.folder / name, good)
    world.pauses.end()
    wait_until(lambda: world.spool.pending()[0] == 0)


def test_files_that_break_while_we_are_let_in_end_no_stream(world: World) -> None:
    world.stream.start()
    world.send()
    (world.folder / "token").unlink()
    world.send()
    assert world.tokens() == ["Bearer the.first.token"]


def test_a_key_that_does_not_fit_is_an_error_and_no_crash(world: World) -> None:
    replace_file(world.folder / "node.key", world.authority.issue(dns=["gpu-1"]).key)
    world.spool.append(recent(world.clock, 1))
    world.stream.start()
    world.pauses.wait_for(1)
    assert world.stream.state.running
    assert world.collector.presented == []


def test_credentials_show_nothing_of_themselves(world: World) -> None:
    """They stand in tracebacks and debug logs."""
    shown = repr(world.files.read())
    assert "token" not in shown
    assert "BEGIN" not in shown


def test_no_files_are_plain_text_without_a_token() -> None:
    credentials = PLAIN_TEXT.read()
    assert (credentials.authority, credentials.metadata()) == (None, ())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsUnusable, match=r"gone: No such file"):
        CredentialFiles(token_file=tmp_path / "gone").read()
