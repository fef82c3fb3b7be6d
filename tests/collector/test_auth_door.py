"""The agents' door over real TLS: who is not let in gets nothing written, and who is in writes one node only."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from pathlib import Path

import grpc.aio
import pytest
from sqlalchemy import Engine, func, select
from tests.certificates import Authority, Pair, replace_file
from tests.collector.open_door import DEADLINE_S, NOW_US, Agent, MemoryWriter
from tests.collector.test_auth_token_review import AUDIENCE, Api
from tests.kube_review import Token
from tests.windows import minutes

from gputally.accounting.line import Window
from gputally.collector.auth.agent import Agents
from gputally.collector.auth.certificate import CertifiedAgents
from gputally.collector.auth.memo import KEPT_S
from gputally.collector.auth.service_account import TokenAgents
from gputally.collector.auth.tls import ServerTls
from gputally.collector.auth.token_review import TokenReviews
from gputally.collector.auth.vouched import VouchedTokens
from gputally.collector.database import schema
from gputally.collector.ingest.admission import RefusalReason, Verdict
from gputally.collector.ingest.arrivals import arrival
from gputally.collector.ingest.commit import Committer
from gputally.collector.ingest.stream import Ingest, make_server
from gputally.proto import codec, telemetry_pb2_grpc
from gputally.proto import telemetry_pb2 as pb

CODE = grpc.StatusCode
Metadata = tuple[tuple[str, str], ...]


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def message(window: Window, sequence: int = 1, **claims: str) -> pb.Window:
    encoded = pb.Window.FromString(codec.encode(window, agent_id="a", boot_id="b", sequence=sequence))
    for name, value in claims.items():
        setattr(encoded, name, value)
    return encoded


async def ask(agent: Agent, window: Window) -> None:
    """Send a window, and wait for what comes of it."""
    await agent.send([message(window)])
    await agent.ack()


@dataclass
class TlsDoor:
    """A real server with TLS on loopback, its files in a folder, in front of a writer in memory."""

    folder: Path
    agents: Agents
    authority: Authority = field(default_factory=lambda: Authority("agents and collector"))
    mutual: bool = True
    writer: MemoryWriter = field(default_factory=MemoryWriter)

    def __post_init__(self) -> None:
        files = self.authority.issue(dns=["localhost"]).write(self.folder, "tls")
        clients = replace_file(self.folder / "agents.crt", self.authority.pem) if self.mutual else None
        self.tls = ServerTls(*files, clients)
        self.trusted = self.authority.pem  # by agents

    async def start(self) -> None:
        self.ingest = Ingest(self.writer, lambda: NOW_US, self.agents)
        self.server = make_server(self.ingest)
        self.port = self.server.add_secure_port("127.0.0.1:0", self.tls.grpc_credentials())
        await self.server.start()

    @asynccontextmanager
    async def agent(self, pair: Pair | None = None, metadata: Metadata = ()) -> AsyncIterator[Agent]:
        tls = grpc.ssl_channel_credentials(self.trusted, pair and pair.key, pair and pair.certificate)
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        async with grpc.aio.secure_channel(f"localhost:{self.port}", tls, options=options) as channel:
            stub = telemetry_pb2_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call]
            yield Agent(stub.Stream(metadata=metadata))

    async def sent(self, agent: Agent, windows: Sequence[pb.Window]) -> pb.Ack:
        """What is acknowledged of these windows, once they are committed."""
        await agent.send(windows)
        while len(self.writer.queue) < len(windows):
            await asyncio.sleep(0)
        await asyncio.to_thread(self.writer.commit)
        ack = pb.Ack()
        while ack.committed_through < windows[-1].sequence:  # two may have an ack each, or one together
            ack.MergeFrom(await agent.ack())
        return ack

    async def refusal(self, pair: Pair | None = None, metadata: Metadata = ()) -> tuple[grpc.StatusCode, str]:
        """Why a stream with one window is not taken; nothing of it came through.

        A client of gRPC that is just writing when the stream ends loses what it was told, so it asks again.
        """
        code = CODE.INTERNAL
        while code is CODE.INTERNAL:
            async with self.agent(pair, metadata) as agent:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await ask(agent, MINE)
            assert not self.writer.queue
            code = caught.value.code()
        return code, caught.value.details() or ""


MINE = minutes(1)[0]


def play(door: TlsDoor, scenario: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await door.start()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await scenario()
        finally:
            await door.server.stop(0)

    asyncio.run(run())


# Certificates.


@pytest.fixture
def mutual(tmp_path: Path) -> TlsDoor:
    return TlsDoor(tmp_path, CertifiedAgents(None))


def own(authority: Authority, **changes: timedelta) -> Pair:
    """A certificate of the node whose windows the tests send."""
    return authority.issue(uris=[f"gputally://{MINE.cluster}/{MINE.node}"], **changes)


def test_a_node_with_its_certificate_writes_its_windows(mutual: TlsDoor) -> None:
    async def scenario() -> None:
        async with mutual.agent(own(mutual.authority)) as agent:
            ack = await mutual.sent(agent, [message(MINE, 7)])
        assert (ack.committed_through, list(ack.refusals)) == (7, [])
        assert mutual.writer.committed[0].refusal is None

    play(mutual, scenario)


@pytest.mark.parametrize("claims", [{"node": "gpu-999"}, {"cluster": "other"}, {"node": ""}, {"cluster": ""}])
def test_a_window_of_another_node_or_cluster_is_refused_beside_ones_own(
    mutual: TlsDoor, claims: dict[str, str]
) -> None:
    """The refusal is final and says what to look at; the node's own window beside it is taken."""

    async def scenario() -> None:
        first, second = minutes(2)
        async with mutual.agent(own(mutual.authority)) as agent:
            ack = await mutual.sent(agent, [message(first, 1, **claims), message(second, 2)])
        assert ack.committed_through == 2
        assert [(each.sequence, each.reason) for each in ack.refusals] == [(1, pb.Refusal.REFUSAL_IDENTITY)]
        assert "--cluster and --node" in ack.refusals[0].detail
        refused, taken = mutual.writer.committed
        assert refused.refusal
        assert (refused.refusal.reason, taken.refusal) == (RefusalReason.IDENTITY, None)

    play(mutual, scenario)


def test_a_stream_without_a_certificate_is_refused(mutual: TlsDoor) -> None:
    async def scenario() -> None:
        assert (await mutual.refusal(None))[0] is CODE.UNAVAILABLE  # TLS itself refuses it

    play(mutual, scenario)


def test_an_expired_certificate_is_refused(mutual: TlsDoor) -> None:
    async def scenario() -> None:
        assert (await mutual.refusal(own(mutual.authority, ends_in=timedelta(hours=-1))))[0] is CODE.UNAVAILABLE

    play(mutual, scenario)


def test_a_certificate_of_another_authority_is_refused(mutual: TlsDoor) -> None:
    async def scenario() -> None:
        assert (await mutual.refusal(own(Authority("agents and collector"))))[0] is CODE.UNAVAILABLE

    play(mutual, scenario)


def test_a_certificate_that_names_no_node_is_refused(mutual: TlsDoor) -> None:
    async def scenario() -> None:
        code, why = await mutual.refusal(mutual.authority.issue(dns=["a", "b"], common_name=MINE.node))
        assert (code, "names one node" in why) == (CODE.UNAUTHENTICATED, True)
        assert mutual.ingest.stats().turned_away == 1

    play(mutual, scenario)


def test_a_certificate_of_another_cluster_is_refused(tmp_path: Path) -> None:
    """A collector of one cluster takes no other's nodes, also where one authority signs for both."""
    door = TlsDoor(tmp_path, CertifiedAgents("prod"))

    async def scenario() -> None:
        code, why = await door.refusal(door.authority.issue(uris=["gputally://dev/gpu-1"]))
        assert (code, "takes prod only" in why) == (CODE.PERMISSION_DENIED, True)

    play(door, scenario)


def test_plain_text_is_refused_where_tls_is_spoken(mutual: TlsDoor) -> None:
    async def scenario() -> None:
        async with grpc.aio.insecure_channel(f"localhost:{mutual.port}") as channel:
            stub = telemetry_pb2_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call]
            agent = Agent(stub.Stream())
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(agent, MINE)
        assert not mutual.writer.queue

    play(mutual, scenario)


def test_authority_and_certificate_are_rotated_without_a_restart(mutual: TlsDoor) -> None:
    """Agents of the old authority are out with the next connection, those of the new one are in."""

    async def scenario() -> None:
        old = mutual.authority
        async with mutual.agent(own(old)) as agent:
            await mutual.sent(agent, [message(MINE)])
        new = Authority("the next one")
        new.issue(dns=["localhost"]).write(mutual.folder, "tls")
        replace_file(mutual.folder / "agents.crt", new.pem)
        mutual.trusted = new.pem
        assert (await mutual.refusal(own(old)))[0] is CODE.UNAVAILABLE
        async with mutual.agent(own(new)) as agent:
            assert (await mutual.sent(agent, [message(MINE)])).committed_through == 1

    play(mutual, scenario)


# Service accounts' tokens.


@pytest.fixture
def api() -> Api:
    api = Api()
    api.reviews.tokens = {
        "a.good.one": Token(node=MINE.node),
        "a.new.one": Token(node=MINE.node),
        "by.hand.made": Token(),
        "of.another.account": Token(username="system:serviceaccount:x:y", node=MINE.node),
        "for.api.server": Token(audiences=("https://kubernetes.default.svc.cluster.local",), node=MINE.node),
        "of.another.node": Token(node="gpu-999"),
        "an.expired.one": Token(node=MINE.node, expires_s=api.now_s - 3600),
    }
    return api


@pytest.fixture
def by_token(tmp_path: Path, api: Api) -> TlsDoor:
    reviews = TokenReviews(api, AUDIENCE, lambda: api.now_s)
    vouched = VouchedTokens(lambda: api.now_s, lambda: api.now_s)
    return TlsDoor(tmp_path, TokenAgents(reviews, vouched, ["gputally/agent"], MINE.cluster), mutual=False)


def test_an_agent_with_its_pods_token_writes_its_windows(by_token: TlsDoor) -> None:
    async def scenario() -> None:
        async with by_token.agent(None, bearer("a.good.one")) as agent:
            ack = await by_token.sent(agent, [message(MINE, 3)])
        assert (ack.committed_through, list(ack.refusals)) == (3, [])

    play(by_token, scenario)


@pytest.mark.parametrize(
    ("token", "code", "words"),
    [
        ("", CODE.UNAUTHENTICATED, "send a token"),
        ("some.made-up.token", CODE.UNAUTHENTICATED, "invalid bearer token"),
        ("for.api.server", CODE.UNAUTHENTICATED, "target audiences"),
        ("an.expired.one", CODE.UNAUTHENTICATED, "has expired"),
        ("by.hand.made", CODE.PERMISSION_DENIED, "names no node"),
        ("of.another.account", CODE.PERMISSION_DENIED, "not a service account of agents"),
    ],
)
def test_a_token_that_does_not_do_is_refused(by_token: TlsDoor, token: str, code: grpc.StatusCode, words: str) -> None:
    async def scenario() -> None:
        found, why = await by_token.refusal(None, bearer(token))
        assert found is code
        assert words in why
        assert token not in why or not token

    play(by_token, scenario)


def test_a_window_of_another_node_than_the_tokens_is_refused(by_token: TlsDoor) -> None:
    async def scenario() -> None:
        async with by_token.agent(None, bearer("of.another.node")) as agent:
            ack = await by_token.sent(agent, [message(MINE, 3)])
        assert [each.reason for each in ack.refusals] == [pb.Refusal.REFUSAL_IDENTITY]

    play(by_token, scenario)


def test_while_the_api_server_is_away_streams_are_unavailable_so_that_agents_spool(by_token: TlsDoor, api: Api) -> None:
    async def scenario() -> None:
        api.away = True
        code, why = await by_token.refusal(None, bearer("a.good.one"))
        assert (code, why) == (CODE.UNAVAILABLE, "nobody answers")
        api.away = False
        api.now_s += 3
        async with by_token.agent(None, bearer("a.good.one")) as agent:
            assert (await by_token.sent(agent, [message(MINE)])).committed_through == 1

    play(by_token, scenario)


def test_a_revoked_token_ends_its_stream_within_a_minute_and_what_was_taken_is_acknowledged(
    by_token: TlsDoor, api: Api
) -> None:
    """A stream lives for half an hour; the right to it does not."""

    async def scenario() -> None:
        first, second, third = minutes(3)
        async with by_token.agent(None, bearer("a.good.one")) as agent:
            await by_token.sent(agent, [message(first, 1)])
            api.reviews.invalidate("a.good.one")
            api.now_s += KEPT_S - 1
            assert (await by_token.sent(agent, [message(second, 2)])).committed_through == 2
            api.now_s += 1
            with pytest.raises(grpc.aio.AioRpcError, match="has been invalidated") as caught:
                await ask(agent, third)
        assert caught.value.code() is CODE.UNAUTHENTICATED
        assert len(by_token.writer.committed) == 2
        async with by_token.agent(None, bearer("a.new.one")) as agent:
            assert (await by_token.sent(agent, [message(third, 3)])).committed_through == 3

    play(by_token, scenario)


def test_whoever_is_refused_again_and_again_does_not_fill_the_log(
    by_token: TlsDoor, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        for _ in range(3):
            await by_token.refusal(None, bearer("x.y.z"))
        assert by_token.ingest.stats().turned_away >= 3, "or more: a client that lost the answer asked again"

    play(by_token, scenario)
    assert caplog.text.count("is turned away") == 1
    assert "x.y.z" not in caplog.text


# In the database.


def test_a_window_of_another_node_is_kept_in_quarantine_and_leaves_no_other_trace(engine: Engine) -> None:
    """Not even the node that it claims is made known; the true node's window of that time is taken afterwards."""
    from gputally.collector.auth.agent import Identity
    from gputally.collector.ingest.stream import identity_refusal

    told = message(MINE)
    refusal = identity_refusal(Identity(MINE.cluster, "gpu-999"), told)
    committer = Committer(engine, UTC, None)
    [outcome] = committer.commit([arrival(told, NOW_US, refusal).read()], NOW_US)
    assert (outcome.verdict, outcome.refusal) == (Verdict.REFUSED, refusal)
    tables = (schema.node, schema.window, schema.line, schema.dirty_hour)
    with engine.connect() as connection:
        assert [connection.scalar(select(func.count()).select_from(table)) for table in tables] == [0, 0, 0, 0]
        assert connection.execute(select(schema.quarantine.c.reason, schema.quarantine.c.node)).all() == [
            ("identity", MINE.node)
        ]
    [taken] = committer.commit([arrival(told, NOW_US).read()], NOW_US)
    assert taken.verdict is Verdict.ACCEPTED
