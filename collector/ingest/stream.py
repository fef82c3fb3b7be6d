"""The agents' door: streams of windows in, acknowledgements out, once the writer has committed what they stand for.

Each stream is read only while the writer has room, so a slow database slows the agents down and nothing piles up
here. A window that cannot be decoded, that comes with a clock that is far off, or that claims a node which is not its
sender's, goes to the writer too, marked as refused: it is quarantined, never dropped.
"""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Protocol, TypeAlias

import grpc.aio

from gputally.collector.auth.agent import Agents, AnyAgent, Identity
from gputally.collector.auth.errors import AuthError, Forbidden, Unauthenticated, Undecided
from gputally.collector.ingest import columns
from gputally.collector.ingest.admission import Outcome, Received, Refusal, RefusalReason, SpoolState
from gputally.collector.ingest.arrivals import ENOUGH, Arrival, Bursts, arrival
from gputally.collector.ingest.progress import Progress
from gputally.collector.ingest.turns import Turns
from gputally.proto import telemetry_pb2 as pb
from gputally.proto import telemetry_pb2_grpc

_LOG = logging.getLogger(__name__)

FLAGGED_SKEW_US = 2_000_000  # an agent's clock that is further off is counted,
REFUSED_SKEW_US = 300_000_000  # and one that is further off than this cannot be booked
MAX_MESSAGE_BYTES = 16 << 20  # a batch; agents send a quarter of a MiB
_LAYOUTS = 16_384  # that are remembered: of a fleet's nodes, some 11 KiB each

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # An agent has one stream; whoever opens more shares what one connection gets.
    ("grpc.max_concurrent_streams", 8),
    # Streams are re-balanced over the replicas: half an hour (gRPC spreads it by 10 %), then half a minute to end.
    ("grpc.max_connection_age_ms", 1_800_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    # A node that vanished without a word is noticed within 80 s.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # An agent may ask as often as once in 10 s whether we are alive, without being cut off for it.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A port that another process listens on is an error at the start, not every second stream lost.
    ("grpc.so_reuseport", 0),
)

_CODES: Mapping[type[AuthError], grpc.StatusCode] = {
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    Undecided: grpc.StatusCode.UNAVAILABLE,
}

_Context: TypeAlias = "grpc.aio.ServicerContext[pb.Batch, pb.Ack]"


class Writes(Protocol):
    """What the door needs of a writer: `writer.Writer` here."""

    def submit(self, received: Received, done: Callable[[Outcome], None]) -> bool:
        """Take a window, or say that there is no room; `done` is called on another thread, after the commit."""

    def finds_room(self, beside: int) -> bool:
        """Whether a window that comes now finds room, beside so many that will be submitted before it."""


@dataclass(frozen=True, slots=True)
class IngestStats:
    """What came in since the start, and how many streams are read now; a snapshot.

    `skewed` counts batches whose clock is more than 2 s off, `turned_away` streams whose sender could not be
    identified, or no longer, `failed` those that a defect of ours has ended.
    """

    streams: int = 0
    batches: int = 0
    windows: int = 0
    skewed: int = 0
    turned_away: int = 0
    failed: int = 0


@dataclass(slots=True)
class Skew:
    """How far an agent's clock is off: a batch's sent time against its arrival.

    What waits because this side did not read is no fault of the agent's clock: `held_us` is for how long, since the
    last batch that arrived promptly, the stream was not read.
    """

    held_us: int = 0

    def hold(self, us: int) -> None:
        """The stream was not read for so long."""
        self.held_us += us

    def measure(self, sent_us: int, arrived_us: int) -> int:
        """Microseconds by which the agent's clock is behind (positive) or ahead (negative)."""
        lag = arrived_us - sent_us
        if abs(lag) <= FLAGGED_SKEW_US:
            self.held_us = 0
        return max(0, lag - self.held_us) if lag > 0 else lag


class Ingest(telemetry_pb2_grpc.TelemetryServicer):
    """Serves every agent's stream. `now_us` is the wall clock; it lives in the event loop that made it.

    `agents` says who they are, at the beginning of a stream and again with each batch.
    """

    def __init__(self, writes: Writes, now_us: Callable[[], int], agents: Agents | None = None) -> None:
        self._writes = writes
        self._now_us = now_us
        self._agents = agents or AnyAgent()
        self._loop = asyncio.get_running_loop()
        self._readers: set[asyncio.Future[None]] = set()
        self._draining = False
        self._turns = Turns()
        self._layouts = columns.Layouts(_LAYOUTS)
        self._unread: deque[tuple[_Stream, Arrival]] = deque()  # there is room for them
        self._bursts = Bursts(self._hand_over)
        self._outcomes: deque[tuple[_Stream, int, Outcome]] = deque()
        self._is_told = False  # the loop knows that there are outcomes
        self._last_turned_away = ""
        self._last_defect = ""
        self._counts: Counter[str] = Counter()

    def stats(self) -> IngestStats:
        """What came in so far; from any thread."""
        names = ("batches", "windows", "skewed", "turned_away", "failed")
        return IngestStats(len(self._readers), *(self._counts[name] for name in names))

    def drain(self) -> None:
        """Read no more; every stream ends once all that was handed to the writer is acknowledged."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def Stream(self, request_iterator: object, context: _Context) -> AsyncIterator[pb.Ack]:  # noqa: ARG002, N802
        """One agent's conversation: acknowledges as windows are committed, until all that was read has an outcome."""
        stream = _Stream()
        reader = self._start_reader(stream, context)
        try:
            while not (stream.error or (reader.done() and not stream.progress.waiting)):
                if ack := stream.progress.news():
                    yield ack
                else:
                    await stream.change()
            if ack := stream.progress.news():
                yield ack
            if stream.error:
                await context.abort(grpc.StatusCode.INTERNAL, f"a defect of this collector: {stream.error!r}")
            if not reader.cancelled():
                reader.result()
            if not stream.is_identified:  # we are stopping, and nobody was asked who this is: that is no welcome
                await context.abort(grpc.StatusCode.UNAVAILABLE, "this collector is stopping")
            context.set_trailing_metadata(farewell(stream.identity, self._now_us()))
        except AuthError as error:
            await self._turn_away(context, error)
        finally:
            reader.cancel()

    async def _turn_away(self, context: _Context, error: AuthError) -> None:
        """End the stream; the agent keeps what was not acknowledged, and tries again."""
        self._counts["turned_away"] += 1
        if str(error) != self._last_turned_away:  # whoever tries again and again does not fill the log
            _LOG.warning("a stream from %s is turned away: %s", context.peer(), error)
        self._last_turned_away = str(error)
        await context.abort(_CODES[type(error)], str(error))

    def _start_reader(self, stream: "_Stream", context: _Context) -> "asyncio.Future[None]":
        reader = asyncio.ensure_future(self._read(stream, context))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        reader.add_done_callback(lambda _: stream.wake())
        if self._draining:
            reader.cancel()
        return reader

    async def _read(self, stream: "_Stream", context: _Context) -> None:
        """Until the agent ends the stream, or we are to stop."""
        stream.identity = await self._agents.identify(context)
        stream.is_identified = True
        while await self._read_batch(stream, context):
            pass

    async def _read_batch(self, stream: "_Stream", context: _Context) -> bool:
        """False at the end. In a function of its own, so that no stream keeps its last batch until the next one."""
        batch = await context.read()
        is_batch = isinstance(batch, pb.Batch)  # at the end it is grpc.aio.EOF
        if is_batch:
            started = monotonic()
            await self._take(stream, batch, await self._agents.identify(context))
            stream.skew.hold(int((monotonic() - started) * 1_000_000))
        return is_batch

    async def _take(self, stream: "_Stream", batch: pb.Batch, identity: Identity | None) -> None:
        """Hand a batch's windows to the writer, as soon as it has room for each."""
        arrived_us = self._now_us()
        stream.node = stream.node or _name_of(batch)
        skew_us = stream.skew.measure(batch.sent_at_us, arrived_us)
        self._counts["batches"] += 1
        self._counts["windows"] += len(batch.windows)
        self._counts["skewed"] += abs(skew_us) > FLAGGED_SKEW_US
        clock = clock_refusal(skew_us)
        if clock:
            _LOG.warning("agent %s: %s", _name_of(batch), clock.detail)
        for number, message in enumerate(batch.windows, start=1):
            refusal = identity_refusal(identity, message) or clock
            spool = spool_state(batch) if number == len(batch.windows) else None
            await self._turns.admit(partial(self._offer, stream, message, arrived_us, refusal, spool))
            if number % ENOUGH == 0:
                await asyncio.sleep(0)  # reading takes its time: let other streams have theirs

    def _offer(
        self, stream: "_Stream", message: pb.Window, arrived_us: int, refusal: Refusal | None, spool: SpoolState | None
    ) -> bool:
        """Take a window, if the writer has room. Until then it takes no more memory."""
        if not self._writes.finds_room(len(self._unread)):
            return False
        self._unread.append((stream, arrival(message, arrived_us, refusal, spool)))
        stream.progress.received(message.sequence)  # before any outcome can arrive
        self._bursts.came(len(self._unread))
        return True

    def _hand_over(self) -> None:
        """Read what came, and hand it to the writer, which takes nothing any more once it is closing."""
        while self._unread:
            stream, came = self._unread.popleft()
            try:
                received = came.read(self._layouts)
            except Exception as error:  # noqa: BLE001 - for its own stream: this is the turn of others as well
                self._fail(stream, error)
                self._loop.call_soon(self._turns.serve)  # its room is free, and no outcome will say so
            else:
                self._writes.submit(received, self._teller(stream, came.sequence))

    def _teller(self, stream: "_Stream", sequence: int) -> Callable[[Outcome], None]:
        def done(outcome: Outcome) -> None:  # on the writer's thread
            self._outcomes.append((stream, sequence, outcome))
            if not self._is_told:  # a group of windows wakes the loop once
                self._is_told = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                    self._loop.call_soon_threadsafe(self._settle)

        return done

    def _settle(self) -> None:
        """Tell the streams what became of their windows."""
        self._is_told = False  # before looking: what comes later says so again
        while self._outcomes:
            stream, sequence, outcome = self._outcomes.popleft()
            if outcome.defect:
                self._fail(stream, outcome.defect)
            else:
                stream.progress.settled(sequence, outcome.refusal)
                stream.wake()
        self._turns.serve()

    def _fail(self, stream: "_Stream", error: Exception) -> None:
        """End a stream on whose window a defect of ours showed. The window is not refused: its agent keeps it, for a
        collector without the defect, and comes again, ever later. What fails of a stream after that is not told."""
        if stream.error:
            return
        self._counts["failed"] += 1
        traceback = None if repr(error) == self._last_defect else error  # once for all that it shows on
        _LOG.error(
            "the stream of %s is ended by a defect of this collector: %r", stream.node, error, exc_info=traceback
        )
        self._last_defect, stream.error = repr(error), error
        stream.wake()


@dataclass(slots=True)
class _Stream:
    """The state of one conversation."""

    progress: Progress = field(default_factory=Progress)
    skew: Skew = field(default_factory=Skew)
    identity: Identity | None = None  # who it was at the beginning; None: nobody asks, or not yet
    is_identified: bool = False
    node: str = ""  # whose it is by its first batch, for the log
    error: Exception | None = None  # what ends it
    waiter: "asyncio.Future[None] | None" = None

    async def change(self) -> None:
        """Wait until it is woken. One task may: an event, for any number, takes ten times as much memory."""
        self.waiter = asyncio.get_running_loop().create_future()
        await self.waiter

    def wake(self) -> None:
        """Something is new that whoever waits has not looked at."""
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)


def farewell(identity: Identity | None, now_us: int) -> tuple[tuple[str, str | bytes], ...]:
    """What an agent that ends its stream is told: this side's clock, and the node that it is known as.

    An agent asks by a stream without windows, before any is lost to a wrong clock or name.
    """
    clock = ("gputally-now-us", str(now_us))
    if identity is None:
        return (clock,)
    names = (("gputally-cluster-bin", identity.cluster), ("gputally-node-bin", identity.node))
    return (clock, *((key, name.encode()) for key, name in names))


def identity_refusal(identity: Identity | None, message: pb.Window) -> Refusal | None:
    """Refuses a window of another node than the sender's; None as identity: nobody asks."""
    objection = identity.objection(message.cluster, message.node) if identity else ""
    return Refusal(RefusalReason.IDENTITY, objection) if objection else None


def spool_state(batch: pb.Batch) -> SpoolState | None:
    """What the batch says of its sender's spool; None: nothing, or nonsense."""
    if not batch.HasField("spool"):
        return None
    said = batch.spool
    state = SpoolState(said.refused_windows, said.refused_us, said.waiting_windows, said.oldest_us)
    fits = all(0 <= number < 2**63 for number in (said.refused_windows, said.refused_us, said.waiting_windows))
    return state if fits and said.oldest_us >= 0 else None


def clock_refusal(skew_us: int) -> Refusal | None:
    """Refuses what comes with a clock that is more than five minutes off; `skew_us` is positive where it is behind."""
    if abs(skew_us) <= REFUSED_SKEW_US:
        return None
    direction = "behind" if skew_us > 0 else "ahead of"
    seconds = abs(skew_us) // 1_000_000
    return Refusal(
        RefusalReason.CLOCK, f"the node's clock is {seconds} s {direction} the collector's: synchronise it (NTP)"
    )


def _name_of(batch: pb.Batch) -> str:
    """Whose batch it is, for the log."""
    return f"{batch.windows[0].cluster}/{batch.windows[0].node}" if batch.windows else "without windows"


def make_server(ingest: Ingest) -> grpc.aio.Server:
    """A server of the Telemetry service, without a port yet."""
    server = grpc.aio.server(options=OPTIONS)
    telemetry_pb2_grpc.add_TelemetryServicer_to_server(ingest, server)  # type: ignore[no-untyped-call]  # generated
    return server
