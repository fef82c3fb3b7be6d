"""A collector that keeps its ledger in memory, behind real gRPC on loopback.

It keeps the wire's promise (an ack comes after the commit, and a window counts once however often it arrives), and
can be told to refuse, to die between commit and ack, to stop reading, and to go away and come back with its ledger.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from tests.ports import OwnPort

from gputally.proto import telemetry_pb2 as pb
from gputally.proto import telemetry_pb2_grpc as rpc

DEADLINE_S = 60.0
Refuse = Callable[[pb.Window], "pb.Refusal | None"]


@dataclass
class Ledger:
    """What a database would hold: the committed messages, in the order of their first arrival."""

    windows: dict[tuple[str, int], bytes] = field(default_factory=dict)  # (agent id, sequence)
    duplicates: int = 0
    contradictions: int = 0  # the same number with other content
    refused: int = 0
    batches: list[pb.Batch] = field(default_factory=list)


class FakeCollector(rpc.TelemetryServicer):
    """Start it, point an agent at `address`, wait for what the ledger should hold."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.changed = threading.Condition()
        self.streams = 0
        self.refuse: Refuse = lambda _: None
        self.die_before_ack = 0  # so many batches are committed, and then the stream breaks
        self.ack_beyond = 0  # a wrong collector: acknowledges what it never got
        self._reading = threading.Event()
        self._reading.set()
        self._server: grpc.Server | None = None
        self._own = OwnPort()
        self.port = self._own.number

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before; the ledger is still there."""
        options = [("grpc.so_reuseport", 0)]
        server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
        rpc.add_TelemetryServicer_to_server(self, server)
        assert server.add_insecure_port(self.address) == self.port
        server.start()
        self._server = server

    def stop(self) -> None:
        """Go away at once, as a killed process does."""
        server, self._server = self._server, None
        self._reading.set()
        if server:
            server.stop(grace=None).wait(DEADLINE_S)

    def stop_reading(self) -> None:
        """Stop taking batches: the writer is behind."""
        self._reading.clear()

    def read_on(self) -> None:
        self._reading.set()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the ledger looks as the test says; fails after a deadline."""
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE_S), self.ledger

    def Stream(self, request_iterator: Iterator[pb.Batch], context: grpc.ServicerContext) -> Iterator[pb.Ack]:  # noqa: N802
        with self.changed:
            self.streams += 1
            self.changed.notify_all()
        while True:
            self._reading.wait()
            batch = next(request_iterator, None)
            if batch is None:
                return
            ack = self._commit(batch)
            if self.die_before_ack:
                self.die_before_ack -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "died between commit and ack")
            yield ack

    def _commit(self, batch: pb.Batch) -> pb.Ack:
        with self.changed:
            self.ledger.batches.append(batch)
            refusals = [refusal for window in batch.windows if (refusal := self._take(window))]
            self.changed.notify_all()
        through = max(window.sequence for window in batch.windows) + self.ack_beyond
        return pb.Ack(committed_through=through, refusals=refusals)

    def _take(self, window: pb.Window) -> "pb.Refusal | None":
        refusal = self.refuse(window)
        if refusal:
            self.ledger.refused += 1
            return refusal
        key, content = (window.agent_id, window.sequence), window.SerializeToString(deterministic=True)
        known = self.ledger.windows.setdefault(key, content)
        if known is not content:
            self.ledger.duplicates += 1
            self.ledger.contradictions += known != content
        return None
