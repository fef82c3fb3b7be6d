"""Windows that came are read together while others keep coming, and a window alone is not kept waiting."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.windows import START_US, window

from gputally.collector.ingest.arrivals import ENOUGH, PAUSE_S, Bursts, arrival
from gputally.collector.ingest.columns import Layouts
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb


class SteppedLoop(asyncio.SelectorEventLoop):
    """Its clock stands until it is set."""

    now_s = 100.0

    def time(self) -> float:
        return self.now_s


class Desk:
    """Something that comes is put down here; a burst takes all of it."""

    def __init__(self, loop: SteppedLoop) -> None:
        self.loop = loop
        self.waiting = 0
        self.taken: list[int] = []
        self.bursts = Bursts(self._take)

    def _take(self) -> None:
        self.taken.append(self.waiting)
        self.waiting = 0

    def comes(self, count: int = 1) -> None:
        for _ in range(count):
            self.waiting += 1
            self.bursts.came(self.waiting)

    async def after(self, seconds: float) -> None:
        """Let that time pass."""
        self.loop.now_s += seconds
        for _ in range(3):  # a timer that is due is called in the next round
            await asyncio.sleep(0)


def play(scenario: Callable[[Desk], Awaitable[None]]) -> list[int]:
    """What each burst took."""
    loop = SteppedLoop()

    async def desk() -> list[int]:
        under_test = Desk(loop)
        await scenario(under_test)
        return under_test.taken

    try:
        return loop.run_until_complete(desk())
    finally:
        loop.close()


def test_a_window_alone_is_read_at_once() -> None:
    async def scenario(desk: Desk) -> None:
        desk.comes()
        await desk.after(2 * PAUSE_S)
        desk.comes()

    assert play(scenario) == [1, 1]


def test_what_comes_soon_after_is_read_together_and_not_forgotten() -> None:
    async def scenario(desk: Desk) -> None:
        desk.comes(3)
        await desk.after(PAUSE_S / 2)
        desk.comes()
        assert desk.taken == [1]
        await desk.after(PAUSE_S)

    assert play(scenario) == [1, 3]


def test_no_more_are_kept_than_are_enough_and_the_pause_begins_anew() -> None:
    async def scenario(desk: Desk) -> None:
        desk.comes(1 + ENOUGH + 2)
        assert desk.taken == [1, ENOUGH]
        await desk.after(PAUSE_S)
        await desk.after(PAUSE_S)

    assert play(scenario) == [1, ENOUGH, 2]


def test_a_window_is_kept_as_the_bytes_that_are_hashed() -> None:
    """Whatever order a sender writes its fields in; and its batch is not kept for it."""
    message = pb.Window.FromString(codec.encode(window(), "agent", "boot", 3))
    kept = arrival(message, START_US)
    assert kept.message == message.SerializeToString(deterministic=True)
    received = kept.read(Layouts(1))
    assert (received.agent_id, received.boot_id, received.sequence) == ("agent", "boot", 3)
    assert (received.message, received.received_us, received.refusal) == (kept.message, START_US, None)
