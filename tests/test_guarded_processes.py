"""Agent and collector as processes, guarded as a cluster guards them: what they print, and whom they talk to.

Everything is on: TLS, tokens with TokenReview, PostgreSQL with a password, the Kubernetes API for pods; logging at its
most talkative. Names of hosts are not looked up, addresses are recorded by an audit hook in each process and, for
libraries in C, from the system's list of connections.
"""

import logging
import os
import signal
import ssl
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select
from tests.certificates import Authority, replace_file
from tests.databases import PostgresServer
from tests.kube_api import FakeKubeApi
from tests.kube_review import FakeReviews, Token
from tests.ports import OwnPort
from tests.programs import Running, wait_until
from tests.test_pipeline import DEADLINE_S

from gputally.collector.database.engine import open_database
from gputally.collector.database.schema import quarantine, window

PASSWORD = "a-database-password"
AGENT_TOKEN, RENEWED_TOKEN = "agent.token.one", "agent.token.two"
REVIEWERS_TOKEN, POD_READERS_TOKEN = "reviewers-own-token", "pod-readers-token"
READERS_TOKEN = "token-of-a-reader"
SCENARIO = Path(__file__).parent.parent / "demo" / "scenarios" / "node-a.json"

# What stands before the product's own main: it is told to log everything.
_TALKATIVE = f"import logging, sys; logging.basicConfig(level={logging.DEBUG}, stream=sys.stderr); "
_AUDIT = """
import os, sys
_file = os.open(os.environ["AUDIT_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def _note(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        os.write(_file, f"{event} {arguments[1]!r}\\n".encode())
    elif event == "socket.getaddrinfo":
        os.write(_file, f"{event} {arguments[0]!r}\\n".encode())
sys.addaudithook(_note)
"""

pytestmark = pytest.mark.timeout(400)


def program(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", f"{_TALKATIVE}from {module} import main; sys.exit(main())", *arguments]


@dataclass
class World:
    """What is beside the two processes, and what they did."""

    folder: Path
    database_url: str
    authority: Authority
    reviews: FakeReviews
    pods: FakeKubeApi
    ports: dict[str, OwnPort]
    private: list[bytes] = field(default_factory=list)  # keys
    peers: set[tuple[str, int]] = field(default_factory=set)  # whom the processes were seen connected to

    def write(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        return str(replace_file(path, content if isinstance(content, bytes) else content.encode()))

    def pair(self, name: str, *dns: str) -> tuple[str, str]:
        pair = self.authority.issue(dns=dns)
        self.private.append(pair.key)
        certificate, key = pair.write(self.folder, name)
        return str(certificate), str(key)

    def env(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUTALLY_")}
        return {**kept, "PYTHONPATH": str(self.folder), "AUDIT_FILE": str(self.folder / "audit"), **more}

    def collector(self, *arguments: str, log: str = "collector.log", **env: str) -> Running:
        certificate, key = self.pair("collector", "localhost")
        command = program(
            "gputally.collector.main",
            *("--grpc-listen", self.ports["grpc"].address, "--http-listen", self.ports["http"].address),
            *("--tls-cert-file", certificate, "--tls-key-file", key),
            *("--agent-auth", "token", "--agent-service-accounts", "gputally/agent", "--cluster", "prod"),
            *("--kube-api", self.reviews.url, "--kube-token-file", self.write("own", self.reviews.own_token)),
            *arguments,
        )
        return Running(command, self.folder / log, self.env(GPUTALLY_DATABASE_URL=self.database_url, **env))

    def agent(self, *arguments: str, log: str = "agent.log") -> Running:
        command = program(
            "gputally.agent.main",
            *("--collector", f"localhost:{self.ports['grpc'].number}", "--node", "gpu-1", "--cluster", "prod"),
            *("--collector-ca-file", self.write("ca.crt", self.authority.pem)),
            *("--collector-token-file", self.write("token", AGENT_TOKEN)),
            *("--nvml", "simulated", "--scenario", str(SCENARIO), "--kube-api", self.pods.url),
            *("--kube-token-file", self.write("pods-token", POD_READERS_TOKEN)),
            *("--http-listen", "127.0.0.1:0", "--spool-dir", str(self.folder / f"{log}.spool"), "--window", "1s"),
            *arguments,
        )
        return Running(command, self.folder / log, self.env())

    def look(self, *programs: Running) -> None:
        """Note whom the processes and their children are connected to now, but for who came to them."""
        for each in programs:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(each.process.pid)
                for member in [process, *process.children(recursive=True)]:
                    self._note_peers(member)

    def _note_peers(self, process: psutil.Process) -> None:
        ours = {port.number for port in self.ports.values()}
        for connection in process.net_connections("inet"):
            if connection.raddr and connection.laddr.port not in ours:
                self.peers.add((connection.raddr.ip.removeprefix("::ffff:"), connection.raddr.port))

    def get(self, path: str, **headers: str) -> str:
        """What the collector answers there, or why it does not."""
        url = f"https://localhost:{self.ports['http'].number}{path}"
        request = urllib.request.Request(url, headers=headers)
        trusted = ssl.create_default_context(cadata=self.authority.pem.decode())
        try:
            with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:  # noqa: S310 - loopback
                return str(answer.read().decode())
        except OSError as error:
            return f"{error}"

    def printed(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def count(self, table: "type[object] | object") -> int:
        engine = open_database(self.database_url)
        try:
            with engine.connect() as connection:
                return int(connection.execute(select(func.count()).select_from(table)).scalar() or 0)  # type: ignore[arg-type]
        finally:
            engine.dispose()


@pytest.fixture
def world(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[World]:
    url = postgres_server.create(migrated=True)
    (tmp_path / "sitecustomize.py").write_text(_AUDIT)
    (tmp_path / "audit").touch()
    with ExitStack() as stack:
        reviews = stack.enter_context(FakeReviews(own_token=REVIEWERS_TOKEN))
        for token in (AGENT_TOKEN, RENEWED_TOKEN):
            reviews.tokens[token] = Token(node="gpu-1")
        pods = stack.enter_context(FakeKubeApi(token=POD_READERS_TOKEN))
        ports = {name: OwnPort() for name in ("grpc", "http")}
        yield World(tmp_path, url.replace("postgres@", f"postgres:{PASSWORD}@"), Authority(), reviews, pods, ports)
    postgres_server.drop(url)


def await_ready(world: World) -> None:
    wait_until(lambda: "ready" in world.get("/readyz"), DEADLINE_S, "the collector")


def stop(*programs: Running) -> None:
    """End them, all at the same time."""
    for each in programs:
        each.process.send_signal(signal.SIGTERM)
    for each in programs:
        each.process.wait(DEADLINE_S)


def audited(world: World) -> set[str]:
    return set((world.folder / "audit").read_text().splitlines())


def assert_no_secret(world: World, more: Sequence[str] = ()) -> None:
    printed = world.printed()
    keys = [line for pair in world.private for line in pair.decode().splitlines() if "-" not in line]
    secrets = [PASSWORD, AGENT_TOKEN, RENEWED_TOKEN, REVIEWERS_TOKEN, POD_READERS_TOKEN, READERS_TOKEN, *keys, *more]
    assert [secret for secret in secrets if secret in printed] == []


def test_all_is_sent_nothing_secret_is_printed_and_nobody_else_is_asked(world: World) -> None:
    """A whole life: windows arrive, the token is rotated, both processes end; with every message at its loudest."""
    collector = world.collector()
    try:
        await_ready(world)
        ask_with_a_token(world)
        agent = world.agent()
        try:
            wait_until(lambda: world.count(window) >= 2, DEADLINE_S, f"windows\n{agent.log}\n{collector.log}")
            world.look(agent, collector)
            world.write("token", RENEWED_TOKEN)
            wait_until(lambda: asked_for(world, RENEWED_TOKEN), DEADLINE_S, f"the new token\n{agent.log}")
            world.look(agent, collector)
        finally:
            stop(agent)
    finally:
        stop(collector)
    assert world.count(quarantine) == 0
    assert "DEBUG" in agent.log
    assert "DEBUG" in collector.log
    assert_no_secret(world)
    grpc, http = (world.ports[name].number for name in ("grpc", "http"))
    allowed = {grpc, http, world.reviews.port, int(world.pods.url.rpartition(":")[2])}
    assert {port for _, port in world.peers} <= allowed
    assert {address for address, _ in world.peers} <= {"127.0.0.1", "::1"}
    assert {each for each in audited(world) if not is_ours(each, allowed)} == set()
    # The hook and the look at connections did see what there was to see.
    assert any(str(world.reviews.port) in each for each in audited(world))
    assert grpc in {port for _, port in world.peers}


def ask_with_a_token(world: World) -> None:
    """A reader's request; whether it is let in does not matter here."""
    world.get("/metrics", Authorization=f"Bearer {READERS_TOKEN}")


def asked_for(world: World, token: str) -> bool:
    return any(asked["spec"].get("token") == token for asked in world.reviews.asked)


def is_ours(line: str, allowed: set[int]) -> bool:
    """Whether an audited event is about this machine, and a port that a setting names."""
    event, _, what = line.partition(" ")
    if event == "socket.getaddrinfo":
        return what.strip("'b\"") in ("localhost", "127.0.0.1", "::1")
    if what.startswith(("'/", "b'/", "'", "b'")):
        return True  # a socket in the file system
    host, port = what.strip("()").split(", ")[:2]
    return host.strip("'") in ("127.0.0.1", "::1") and int(port) in allowed


def test_every_refusal_is_told_without_its_secret(world: World) -> None:
    """Wrong tokens, a wrong authority, files without a token, a database that is away: all of it is logged."""
    world.reviews.tokens.clear()
    collector = world.collector()
    try:
        await_ready(world)
        stranger = world.write("stranger.crt", Authority("stranger").pem)
        broken = world.write("broken-token", "first-half\nsecond-half")
        agents = [
            world.agent(log="agent-token.log"),
            world.agent("--collector-ca-file", stranger, log="agent-ca.log"),
            world.agent("--collector-token-file", broken, log="agent-broken.log"),
        ]
        try:
            for agent, words in zip(agents, ("UNAUTHENTICATED", "UNAVAILABLE", "holds no token"), strict=True):
                wait_until(lambda agent=agent, words=words: words in agent.log, DEADLINE_S, f"{words}\n{agent.log}")  # type: ignore[misc]
            wait_until(lambda: "is turned away" in collector.log, DEADLINE_S, collector.log)
            metrics = world.get("/metrics")
            assert "\ngputally_ingest_turned_away_streams_total 0.0\n" not in metrics
            assert "\ngputally_ingest_turned_away_streams_total " in metrics
        finally:
            stop(*agents)
    finally:
        stop(collector)
    away, nobodys = world.database_url, OwnPort()
    world.database_url = f"postgresql://gputally:{PASSWORD}@{nobodys.address}/gputally"
    without = world.collector(log="collector-without.log")
    try:
        wait_until(lambda: "refused" in without.log, DEADLINE_S, without.log)
    finally:
        stop(without)
    world.database_url = away
    assert world.count(window) == 0
    assert_no_secret(world, more=["first-half", "second-half"])


def test_an_agent_of_another_node_is_refused_and_its_windows_are_kept_aside(world: World) -> None:
    """Its token is good, its claim is not: the agent says so, the collector counts it, the ledger has nothing of it."""
    collector = world.collector()
    try:
        await_ready(world)
        agent = world.agent("--node", "gpu-2")
        try:
            wait_until(lambda: "(identity)" in agent.log, DEADLINE_S, f"{agent.log}\n{collector.log}")
            wait_until(lambda: 'reason="identity"' in world.get("/metrics"), DEADLINE_S, "the metric")
        finally:
            stop(agent)
    finally:
        stop(collector)
    assert world.count(window) == 0
    assert world.count(quarantine) > 0
