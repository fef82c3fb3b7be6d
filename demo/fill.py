"""The back-fill as it runs: day by day, the newest first, through a spool and a stream of its own."""

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gputally.accounting.line import Window
from gputally.agent.probe.main import monotonic_us, wall_us
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.spool.spool import Spool
from gputally.agent.stream import Stream
from gputally.demo.backfill import DAY_US, MINUTE_US, days
from gputally.demo.repeat import Days

_ROOM = 5_000  # windows that may wait in the spool before the back-fill waits for the collector
_AT_ONCE = 240  # windows: what is kept costs a write to the disk each time
_SPOOL_BYTES = 256 << 20
_OLDEST_US = 62 * DAY_US  # a month that began two months ago is still taken
_LAST_SEND_S = 60


class SpoolRefused(Exception):
    """Windows did not get into the spool; the message says why."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the back-fill is, in windows that the collector has. `error` is one line, empty while all is well."""

    done: int
    total: int
    error: str = ""


class BackFill:
    """Lives through [start_us, end_us) of every node, in a thread of its own.

    One spool and one stream carry all nodes: windows name theirs, and asyncio's gRPC wants one loop in a process.
    """

    def __init__(self, nodes: Mapping[str, Scenario], cluster: str, start_us: int, end_us: int, folder: Path) -> None:
        self._nodes = nodes
        self._cluster = cluster
        self._span = (start_us, end_us)
        self._folder = folder
        self._made = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="back-fill", daemon=True)
        self.progress = Progress(0, len(nodes) * max(0, end_us - start_us) // MINUTE_US)

    def start(self, collector: str) -> None:
        """Begin, sending to the collector at HOST:PORT."""
        self._collector = collector
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, which comes when the collector has everything; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Stop where it is."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        try:
            spool = Spool(self._folder / "back-fill", "back-fill", _SPOOL_BYTES, _OLDEST_US, wall_us)
            stream = Stream(spool, self._collector, wall_us, monotonic_us, random.random)
            stream.start()
            try:
                self._live(spool)
                self._send_the_rest(spool, stream)
            finally:
                stream.close(0.1)
                spool.close()
        except Exception as error:
            self.progress = Progress(self.progress.done, self.progress.total, f"the back-fill ended: {error}")
            raise

    def _live(self, spool: Spool) -> None:
        lives = [Days(scenario, self._cluster, node) for node, scenario in self._nodes.items()]
        for start_us, end_us in days(*self._span):
            for life in lives:
                waiting: list[Window] = []
                for windows in life.windows(start_us, end_us):
                    if self._stop.is_set():
                        return
                    waiting += windows
                    if len(waiting) >= _AT_ONCE:
                        self._keep(spool, waiting)
                        self._wait_for_room(spool)
                        waiting = []
                self._keep(spool, waiting)

    def _keep(self, spool: Spool, windows: list[Window]) -> None:
        if len(spool.append(windows)) < len(windows):
            state = spool.state()
            raise SpoolRefused(state.error or f"windows were refused: {dict(state.refused_windows)}")
        self._made += len(windows)

    def _wait_for_room(self, spool: Spool) -> None:
        while self._note_progress(spool) > _ROOM and not self._stop.wait(0.05):
            pass

    def _send_the_rest(self, spool: Spool, stream: Stream) -> None:
        while self._note_progress(spool) and not self._stop.wait(0.05):
            pass
        if not self._stop.is_set():
            stream.close(_LAST_SEND_S)

    def _note_progress(self, spool: Spool) -> int:
        """How many windows still wait; all others are with the collector."""
        waiting = spool.pending()[0]
        self.progress = Progress(self._made - waiting, self.progress.total)
        return waiting
