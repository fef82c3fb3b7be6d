"""Send what is in the spool to the collector, and release it when the collector has committed it.

One bidirectional stream on grpc.aio in a thread of its own (an open synchronous stream polls, and costs more than
sampling does). The spool is the only queue: a connection that breaks is forgotten with all that it had in flight, and
the next one starts at the oldest window that is still there.
"""

import asyncio
import contextlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import grpc.aio

from gputally.agent.backoff import Backoff
from gputally.agent.credentials import PLAIN_TEXT, CredentialFiles, Credentials, CredentialsUnusable
from gputally.agent.snapshot import StreamState
from gputally.agent.spool.spool import Spool, SpoolReport
from gputally.agent.timer_slack import may_wake_late
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.certificate import validity

_log = logging.getLogger(__name__)

BATCH_BYTES = 256 << 10
BATCH_WINDOWS = 512
IN_FLIGHT_BATCHES = 8  # unacknowledged at one time; the collector's flow control may allow fewer
BACKLOG_WINDOWS = 16  # more that wait when a connection begins go compressed: windows of one node are much alike
_RENEWED = "our credentials were renewed"
_LATE_US = 300_000  # of all timers of gRPC's, so that its threads wake together; those that matter take 20 s or more
_CANCEL_S = 5.0  # how long the thread may take to let go once the deadline of close() has passed

_METHOD = f"/{pb.DESCRIPTOR.services_by_name['Telemetry'].full_name}/Stream"
_WINDOWS_TAG = bytes([pb.Batch.DESCRIPTOR.fields_by_name["windows"].number << 3 | 2])  # 2: length-delimited
_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, pb.Ack]"
_OPTIONS: tuple[tuple[str, int], ...] = (
    # Notices a collector that vanished without a word; more often than 5 min is punished by gRPC servers.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Each connection is ours alone, so that only our own backoff decides when to try again.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # The collector is inside the cluster: a proxy that the environment names would only be in the way.
    ("grpc.enable_http_proxy", 0),
)


def batch_message(sent_at_us: int, windows: Sequence[bytes], report: SpoolReport | None = None) -> bytes:
    """A serialised Batch around windows that are serialised already, byte for byte as they were spooled."""
    batch = pb.Batch(sent_at_us=sent_at_us)
    if report:
        batch.spool.refused_windows = report.refused_windows
        batch.spool.refused_us = report.refused_us
        batch.spool.waiting_windows = report.waiting_windows
        batch.spool.oldest_us = report.oldest_us or 0
    parts = [batch.SerializeToString()]
    for window in windows:
        parts += (_WINDOWS_TAG, _varint(len(window)), window)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


@dataclass(slots=True)
class _Flight:
    """What one connection has sent: the last sequence, and the last sequence of each batch without an ack."""

    sent_through: int = 0
    batches: deque[int] = field(default_factory=deque)

    def add(self, last_sequence: int) -> None:
        self.sent_through = last_sequence
        self.batches.append(last_sequence)

    def settle(self, through: int) -> None:
        while self.batches and self.batches[0] <= through:
            self.batches.popleft()


class Stream:
    """The conversation with one collector at `target` (HOST:PORT), for as long as the agent lives.

    `files` prove who is who; they are looked at again whenever nothing is in flight. `wall_us` and
    `monotonic_us` are clocks, `random` is uniform in [0, 1), `pause` waits so many seconds.
    """

    def __init__(
        self,
        spool: Spool,
        target: str,
        wall_us: Callable[[], int],
        monotonic_us: Callable[[], int],
        random: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        files: CredentialFiles = PLAIN_TEXT,
    ) -> None:
        self._spool = spool
        self._target = target
        self._wall_us = wall_us
        self._monotonic_us = monotonic_us
        self._backoff = Backoff(random)
        self._pause = pause
        self._files = files
        self._state = StreamState()
        self._refusals: Counter[str] = Counter()
        self._news = asyncio.Event()  # something to send, room to send it, or the end
        self._closing = asyncio.Event()
        self._drained = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life: asyncio.Task[None] | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    @property
    def state(self) -> StreamState:
        """How it stands; may be read from any thread."""
        return self._state

    def start(self) -> None:
        """Begin to send, in a thread of its own."""
        self._spool.subscribe(lambda: self._tell(self._news.set))
        self._thread.start()
        self._up.wait()

    def close(self, deadline_s: float) -> bool:
        """Send what is left until the collector has all of it or `deadline_s` is over; whether it has all of it.

        What it does not have stays in the spool. Closing twice, or what was never started, is harmless.
        """
        if not self._up.is_set():
            return False
        self._tell(self._finish)
        self._thread.join(deadline_s)
        if self._thread.is_alive() and self._life:
            self._tell(self._life.cancel)
            self._thread.join(_CANCEL_S)
        return self._drained

    def _tell(self, what: Callable[[], object]) -> None:
        """Run `what` in the stream's thread; nothing where that has ended."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            if self._loop:
                self._loop.call_soon_threadsafe(what)

    def _finish(self) -> None:
        self._closing.set()
        self._news.set()

    # What follows runs in the stream's thread.

    def _run(self) -> None:
        may_wake_late(_LATE_US)  # gRPC's threads are started by this one
        try:
            asyncio.run(self._live())
        except asyncio.CancelledError:
            _log.warning("stream: not everything was sent in time; it stays in the spool")
        except Exception as error:
            self._note(error=f"the stream ended by a defect: {error!r}")
            raise
        finally:
            self._up.set()
            self._note(running=False, connected=False)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._life = asyncio.current_task()
        self._note(running=True)
        self._up.set()
        while not self._is_drained(_Flight()):
            error = await self._connect()
            if error == _RENEWED:
                _log.info("stream: connecting again with the credentials that are in the files now")
                continue
            self._note(connected=False, error=error and f"collector {self._target}: {error}")
            if self._is_drained(_Flight()):
                break
            delay_s = self._backoff.next_s()
            _log.warning("stream: collector %s: %s; trying again in %.1f s", self._target, error, delay_s)
            await self._wait(delay_s)
        self._drained = True

    def _is_drained(self, flight: _Flight) -> bool:
        return self._closing.is_set() and not flight.batches and not self._spool.read(flight.sent_through, 1, 1)

    async def _wait(self, delay_s: float) -> None:
        """Pause; the beginning of the end cuts it short, so that there is one more try at once."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._pause(delay_s))]
        if not self._closing.is_set():
            waits.append(asyncio.ensure_future(self._closing.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(waits)

    async def _connect(self) -> str:
        """One connection, from its beginning to its end; returns why it ended, "" when everything was sent."""
        try:
            credentials = self._files.read()
        except CredentialsUnusable as error:
            return str(error)
        self._note(certificate=validity(credentials.certificate or b""))
        async with credentials.channel(self._target, _OPTIONS) as channel:
            method = channel.stream_stream(_METHOD, None, pb.Ack.FromString)
            call = method(None, metadata=credentials.metadata(), compression=self._compression())
            try:
                await call.wait_for_connection()
                self._note(connected=True, connections=self._state.connections + 1)
                return await self._converse(call, _Flight(), credentials)
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"
            finally:
                call.cancel()

    def _compression(self) -> grpc.Compression:
        """How the next connection compresses, for as long as it lasts: gRPC has no choice by message here."""
        waiting, _, _ = self._spool.pending()
        return grpc.Compression.Gzip if waiting > BACKLOG_WINDOWS else grpc.Compression.NoCompression

    async def _converse(self, call: _Call, flight: _Flight, credentials: Credentials) -> str:
        """Send and receive until either ends. The receiver knows why: the sender only sees that it is over."""
        sender = asyncio.ensure_future(self._send_until_over(call, flight, credentials))
        receiver = asyncio.ensure_future(self._receive(call, flight))
        try:
            await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
            if sender.done():
                ended = sender.result()
                if not call.done():
                    return ended
            await receiver
            return "the collector ended the stream"
        finally:
            await _cancel((sender, receiver))

    async def _send_until_over(self, call: _Call, flight: _Flight, credentials: Credentials) -> str:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the call is over
            return await self._send(call, flight, credentials)
        return ""

    async def _send(self, call: _Call, flight: _Flight, credentials: Credentials) -> str:
        """Until everything was sent (""), or there is a reason to begin anew."""
        while not call.done():
            self._news.clear()
            if not flight.batches and self._is_outdated(credentials):
                return _RENEWED
            room = len(flight.batches) < IN_FLIGHT_BATCHES
            rows = self._spool.read(flight.sent_through, BATCH_BYTES, BATCH_WINDOWS) if room else []
            if rows:
                flight.add(rows[-1][0])
                await call.write(batch_message(self._wall_us(), [payload for _, payload in rows], self._spool.report()))
                self._count_sent(len(rows))
            elif self._is_drained(flight):
                break
            else:
                await self._news.wait()
        return ""

    def _is_outdated(self, credentials: Credentials) -> bool:
        """Whether there are others now. Files that cannot be used are no reason to leave while we are let in."""
        try:
            return self._files.read() != credentials
        except CredentialsUnusable:
            return False

    async def _receive(self, call: _Call, flight: _Flight) -> None:
        async for ack in call:
            # Never beyond what this connection sent: a wrong answer must not delete what nobody has.
            through = min(ack.committed_through, flight.sent_through)
            self._spool.release(through)
            flight.settle(through)
            self._count_refusals(ack.refusals)
            self._backoff.reset()
            self._note(last_ack_us=self._monotonic_us(), last_ack_wall_us=self._wall_us(), error="")
            self._news.set()

    def _count_sent(self, windows: int) -> None:
        state = self._state
        self._note(batches_sent=state.batches_sent + 1, windows_sent=state.windows_sent + windows)

    def _count_refusals(self, refusals: Sequence[pb.Refusal]) -> None:
        if not refusals:
            return
        by_reason = Counter(_reason(refusal) for refusal in refusals)
        self._refusals.update(by_reason)
        for reason, windows in by_reason.items():
            detail = next(refusal.detail for refusal in refusals if _reason(refusal) == reason)
            _log.error("stream: the collector refused %d windows for good (%s): %s", windows, reason, detail)
        self._note(refusals=dict(self._refusals))

    def _note(self, **changes: Any) -> None:
        """Replace fields of the state; only the stream's thread writes it."""
        self._state = replace(self._state, **changes)


def _reason(refusal: pb.Refusal) -> str:
    """The reason as a label: clock, conflict, invalid, too-old; unknown for one that this agent does not know."""
    value = pb.Refusal.Reason.DESCRIPTOR.values_by_number.get(refusal.reason)
    name: str = value.name if value else "REFUSAL_UNKNOWN"
    return name.removeprefix("REFUSAL_").lower().replace("_", "-")


async def _cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel the tasks and wait until they are over; what they raised has been told elsewhere."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
