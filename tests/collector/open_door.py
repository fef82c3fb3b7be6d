"""The agents' door on loopback, an agent in front of it, and a writer in memory behind it."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import grpc.aio

from gputally.accounting.line import Window
from gputally.collector.ingest.admission import ACCEPTED, Outcome, Received, Refusal, Verdict
from gputally.collector.ingest.stream import (
    Ingest,
    make_server,
)
from gputally.proto import codec, telemetry_pb2_grpc
from gputally.proto import telemetry_pb2 as pb

DEADLINE_S = 60
NOW_US = 1_782_950_400_000_000


class MemoryWriter:
    """Takes windows into a bounded queue; `commit` gives what waits its outcome, on a thread of its own."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.queue: deque[tuple[Received, Callable[[Outcome], None]]] = deque()
        self.committed: list[Received] = []
        self.verdict: Callable[[Received], Outcome] = lambda received: _kept(received.refusal)

    def submit(self, received: Received, done: Callable[[Outcome], None]) -> bool:
        if len(self.queue) >= self.size:
            return False
        self.queue.append((received, done))
        return True

    def finds_room(self, beside: int) -> bool:
        return len(self.queue) + beside < self.size

    def commit(self, count: int | None = None) -> None:
        thread = threading.Thread(target=self._commit, args=(len(self.queue) if count is None else count,))
        thread.start()
        thread.join()

    def _commit(self, count: int) -> None:
        for _ in range(count):
            received, done = self.queue.popleft()
            self.committed.append(received)
            done(self.verdict(received))


def _kept(refusal: Refusal | None) -> Outcome:
    return Outcome(Verdict.REFUSED, refusal) if refusal else ACCEPTED


class Agent:
    """One stream to the door, as an agent has it."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[pb.Batch, pb.Ack]") -> None:
        self.call = call

    async def send(self, messages: Sequence[pb.Window], sent_at_us: int = NOW_US) -> None:
        await self.call.write(pb.Batch(sent_at_us=sent_at_us, windows=messages))

    async def ack(self) -> pb.Ack:
        ack = await self.call.read()
        assert isinstance(ack, pb.Ack)
        return ack

    async def ended(self) -> bool:
        return await self.call.read() is grpc.aio.EOF and (await self.call.code()) is grpc.StatusCode.OK


class Door:
    """A real gRPC server on loopback in front of a writer in memory; its clock stands until it is set."""

    def __init__(self, writer: MemoryWriter) -> None:
        self.writer = writer
        self.now_us = NOW_US
        self.ingest = Ingest(writer, lambda: self.now_us)
        self.server = make_server(self.ingest)
        self.target = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        async with grpc.aio.insecure_channel(self.target) as channel:
            stub = telemetry_pb2_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call]
            yield Agent(stub.Stream())

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0)


def run(scenario: Callable[[Door], Awaitable[None]], size: int = 100) -> MemoryWriter:
    """Play a scenario against an open door."""
    writer = MemoryWriter(size)

    async def play() -> None:
        door = Door(writer)
        await door.server.start()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await scenario(door)
        finally:
            await door.server.stop(0)

    asyncio.run(play())
    return writer


def messages(windows: Sequence[Window], first: int = 1) -> list[pb.Window]:
    return [
        pb.Window.FromString(codec.encode(content, "agent", "boot", sequence))
        for sequence, content in enumerate(windows, start=first)
    ]
