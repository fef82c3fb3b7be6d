"""Agents as a collector sees them: connections of their own, each with a stream and at most eight batches in flight."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc.aio
from content import sent_at

from gputally.agent.stream import IN_FLIGHT_BATCHES
from gputally.proto import telemetry_pb2 as pb

_METHOD = f"/{pb.DESCRIPTOR.services_by_name['Telemetry'].full_name}/Stream"
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
_PATIENCE_S = 120
_TRIES, _PAUSE_S = 5, 1.0
_AT_ONCE = 64  # connections that are opened together
_T = TypeVar("_T")
_RUNNER = asyncio.Runner()  # one loop for all: what grpc.aio still has to say would come to a closed one


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """As asyncio.run."""
    return _RUNNER.run(main)


@dataclass(slots=True)
class Agent:
    """One agent's stream. `waits` holds the batches without an answer: last sequence, when they were sent, bytes."""

    channel: grpc.aio.Channel
    compression: grpc.Compression
    call: Any = None
    reader: "asyncio.Future[None] | None" = None
    waits: deque[tuple[int, float, bytes]] = field(default_factory=deque)
    latencies: list[float] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    broken: int = 0

    async def send(self, batch: bytes, last_sequence: int) -> None:
        """Send a batch as soon as there is room for it."""
        while len(self.waits) >= IN_FLIGHT_BATCHES:
            await self._next_answer()
        self.waits.append((last_sequence, time.perf_counter(), batch))
        await self._write(batch)

    async def settled(self) -> None:
        """Wait until every batch is answered."""
        while self.waits:
            await self._next_answer()

    async def connect(self) -> None:
        """Open a stream, and note its answers from now on."""
        await self._open()
        self.reader = asyncio.ensure_future(self._live())

    async def _open(self) -> None:
        """Of thousands some are cancelled on their way, on a busy machine; they try again later, as agents do."""
        for left in reversed(range(_TRIES)):
            method = self.channel.stream_stream(_METHOD, None, pb.Ack.FromString)
            self.call = method(None, compression=self.compression)
            try:
                await self.call.wait_for_connection()
                return
            except grpc.aio.AioRpcError:
                if not left:
                    raise
                await asyncio.sleep(_PAUSE_S)

    async def _live(self) -> None:
        """A stream that breaks begins anew, with all that was not answered."""
        while self.broken < _TRIES:
            with suppress(grpc.aio.AioRpcError):
                await self._read()
            self.broken += 1
            await self._open()
            for _, _, batch in tuple(self.waits):
                await self._write(batch)

    async def _write(self, batch: bytes) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it broke: the next one sends it again
            await self.call.write(sent_at(batch, time.time_ns() // 1000))

    async def _next_answer(self) -> None:
        self.answered.clear()
        await asyncio.wait_for(self.answered.wait(), _PATIENCE_S)

    async def _read(self) -> None:
        """Note the answers until the stream ends. A server that throws away answers 0, once for each batch."""
        async for ack in self.call:
            assert not ack.refusals, ack.refusals
            now = time.perf_counter()
            while self.waits and self.waits[0][0] <= (ack.committed_through or self.waits[0][0]):
                self.latencies.append(now - self.waits.popleft()[1])
                if not ack.committed_through:
                    break
            self.answered.set()


@asynccontextmanager
async def connected(
    target: str, count: int, compression: grpc.Compression = grpc.Compression.NoCompression
) -> AsyncIterator[list[Agent]]:
    """So many agents with an open stream each; all of them are gone afterwards."""
    agents: list[Agent] = []
    try:
        while len(agents) < count:
            channels = [grpc.aio.insecure_channel(target, _OPTIONS) for _ in range(min(_AT_ONCE, count - len(agents)))]
            some = [Agent(channel, compression) for channel in channels]
            agents += some
            await asyncio.gather(*(agent.connect() for agent in some))
        yield agents
    finally:
        readers = [agent.reader for agent in agents if agent.reader]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for agent in agents:
            agent.call.cancel()
        await asyncio.gather(*(agent.channel.close(None) for agent in agents))


async def send_all(agents: Sequence[Agent], batches: Sequence[Sequence[bytes]], windows: int, first: int) -> None:
    """Each agent sends its own batches of `windows`, numbered from `first`, as fast as it may, to the last answer."""

    async def one(agent: Agent, own: Sequence[bytes]) -> None:
        for at, batch in enumerate(own, start=1):
            await agent.send(batch, first - 1 + at * windows)
        await agent.settled()

    await asyncio.gather(*map(one, agents, batches))
