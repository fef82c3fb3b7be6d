"""Spools for tests: windows of a minute, and a clock that one sets."""

from pathlib import Path

from gputally.accounting.keys import PLATFORM_KEY
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.states import Source
from gputally.agent.spool.spool import Spool

MINUTE_US = 60_000_000
DAY_US = 24 * 60 * MINUTE_US
HELD = 120  # windows that may wait in memory


class Clock:
    """A wall clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.us


def window(start_us: int, model: str = "GPU") -> Window:
    line = Line(PLATFORM_KEY, Source.NONE, unallocated_us=MINUTE_US)
    device = DeviceWindow("GPU-1", model, MINUTE_US, (line,))
    return Window("c", "n", start_us, start_us + MINUTE_US, (device,))


def recent(clock: Clock, count: int = 1) -> list[Window]:
    return [window(clock.us - (count - i) * MINUTE_US) for i in range(count)]


def open_spool(path: Path, clock: Clock, max_bytes: int = 1 << 20, max_age_us: int = 7 * DAY_US) -> Spool:
    return Spool(path, "boot", max_bytes, max_age_us, clock)


def sequences(spool: Spool, after: int = 0) -> list[int]:
    return [sequence for sequence, _ in spool.read(after, 1 << 30, 1 << 30)]
