"""Collectors' doors for tests: the collector's own gRPC servers, in a thread, before a writer in memory."""

import asyncio
import threading
import time
from pathlib import Path

from tests.certificates import Authority, Pair
from tests.collector.open_door import MemoryWriter
from tests.kube_review import FakeReviews

from gputally.agent.credentials import CredentialFiles
from gputally.collector.auth.agent import Agents, AnyAgent
from gputally.collector.auth.certificate import CertifiedAgents
from gputally.collector.auth.kube_api import KubeApi
from gputally.collector.auth.service_account import TokenAgents
from gputally.collector.auth.tls import ServerTls
from gputally.collector.auth.token_review import TokenReviews
from gputally.collector.auth.vouched import VouchedTokens
from gputally.collector.ingest.stream import Ingest, make_server

CLUSTER, AUDIENCE, ACCOUNT = "prod", "gputally-collector", "gputally/agent"
NOW_US = 1_800_000_000_000_000  # by the clock of those that ask for no token


class Doors:
    """Three: `plain` asks nobody, `mutual` asks for certificates, `tokens` has tokens reviewed and a real clock."""

    def __init__(self, folder: Path, reviews: FakeReviews | None = None) -> None:
        self.folder, self.authority, self.writer = folder, Authority(), MemoryWriter()
        self._reviews = reviews
        (folder / "ca.crt").write_bytes(self.authority.pem)
        self._up, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._up.wait(60), "the doors did not open"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def files(self, pair: Pair | None = None) -> CredentialFiles:
        """The authority, with or without a certificate of the node's own."""
        own = pair.write(self.folder, "node") if pair else (None, None)
        return CredentialFiles(self.folder / "ca.crt", *own)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        certificate, key = self.authority.issue(dns=["localhost"]).write(self.folder, "collector")
        self.ingest = Ingest(self.writer, lambda: NOW_US, AnyAgent())
        servers = [make_server(self.ingest)]
        self.plain = servers[0].add_insecure_port("localhost:0")
        guarded: list[tuple[Agents, ServerTls, int | None]] = [
            (CertifiedAgents(CLUSTER), ServerTls(certificate, key, self.folder / "ca.crt"), NOW_US)
        ]
        if self._reviews:
            guarded.append((self._token_agents(self._reviews), ServerTls(certificate, key), None))
        ports = []
        for agents, tls, now_us in guarded:
            ingest = Ingest(self.writer, lambda now_us=now_us: now_us or time.time_ns() // 1000, agents)  # type: ignore[misc]
            servers.append(make_server(ingest))
            ports.append(servers[-1].add_secure_port("localhost:0", tls.grpc_credentials()))
        self.mutual, self.tokens = ports[0], ports[-1]
        for server in servers:
            await server.start()
        self._up.set()
        await self._over.wait()
        for server in servers:
            await server.stop(None)

    def _token_agents(self, reviews: FakeReviews) -> TokenAgents:
        own = self.folder / "own"
        own.write_text(reviews.own_token)
        asked = TokenReviews(KubeApi(reviews.url, own, None), AUDIENCE, time.monotonic)
        return TokenAgents(asked, VouchedTokens(time.monotonic, time.time), [ACCOUNT], CLUSTER)
