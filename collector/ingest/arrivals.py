"""Windows that came and are not read yet.

A window alone, between the work for others, takes four times as long to be read as one of several: by then what reads
it has left the processor's caches. So while windows keep coming, some are read together.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gputally.collector.ingest import columns
from gputally.collector.ingest.admission import Received, Refusal, RefusalReason, SpoolState
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

PAUSE_S = 0.04  # between bursts that are small; below what the writer waits for more
ENOUGH = 16  # windows that are read without waiting for more, and before other streams have their turn: some 1 ms


@dataclass(frozen=True, slots=True)
class Arrival:
    """A window as it came, as bytes; the fields are those of `Received`."""

    message: bytes
    agent_id: str
    boot_id: str
    sequence: int
    received_us: int
    refusal: Refusal | None = None
    spool: SpoolState | None = None

    def read(self, layouts: columns.Layouts = columns.NO_LAYOUTS) -> Received:
        """The window as the writer takes it; one that contradicts itself is refused, and has no devices."""
        refusal = self.refusal
        try:
            window = layouts.read(self.message)
        except codec.WireError as error:
            window = columns.head(pb.Window.FromString(self.message))
            refusal = refusal or Refusal(RefusalReason.INVALID, str(error))
        origin = (self.agent_id, self.boot_id, self.sequence)
        return Received(self.message, window, *origin, self.received_us, refusal, self.spool)


def arrival(
    message: pb.Window, received_us: int, refusal: Refusal | None = None, spool: SpoolState | None = None
) -> Arrival:
    """What is kept of a message until it is read; of the batch that it came in nothing is."""
    content = message.SerializeToString(deterministic=True)
    return Arrival(content, message.agent_id, message.boot_id, message.sequence, received_us, refusal, spool)


class Bursts:
    """Calls `work` for what waits: at once where it was not called lately or where enough waits, else with what else
    comes within `PAUSE_S`. It lives in the event loop that made it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._next_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def came(self, waiting: int) -> None:
        """So many wait now, one more than before."""
        if waiting >= ENOUGH or self._loop.time() >= self._next_s:
            self._go()
        elif not self._timer:
            self._timer = self._loop.call_at(self._next_s, self._go)

    def _go(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._work()
        self._next_s = self._loop.time() + PAUSE_S
