"""The back-fill as it runs: day by day, the newest first, through spools and streams of its own."""

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gputally.agent.probe import monotonic_us, wall_us
from gputally.agent.scenario import Scenario
from gputally.agent.spool import Spool
from gputally.agent.stream import Stream
from gputally.demo.backfill import DAY_US, MINUTE_US, days, live_through

_ROOM = 5_000  # windows that may wait in a spool before the back-fill waits for the collector
_LOOK_EVERY = 100
_SPOOL_BYTES = 256 << 20
_OLDEST_US = 62 * DAY_US  # a month that began two months ago is still taken


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the back-fill is. `error` is one line, empty while all is well."""

    done: int
    total: int
    error: str = ""


class BackFill:
    """Lives through [start_us, end_us) of every node in a thread of its own."""

    def __init__(self, nodes: Mapping[str, Scenario], cluster: str, start_us: int, end_us: int, folder: Path) -> None:
        self._nodes = nodes
        self._cluster = cluster
        self._span = (start_us, end_us)
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="back-fill", daemon=True)
        self.progress = Progress(0, len(nodes) * max(0, end_us - start_us) // MINUTE_US)

    def start(self, collector: str) -> None:
        """Begin, sending to the collector at HOST:PORT."""
        self._collector = collector
        self._thread.start()

    def close(self) -> None:
        """Stop where it is."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        spool, stream = self._sender()
        try:
            for start_us, end_us in days(*self._span):
                for node in self._nodes:
                    self._live(node, spool, start_us, end_us)
            if not self._stop.is_set():
                stream.close(60)
        except Exception as error:
            self.progress = Progress(self.progress.done, self.progress.total, f"the back-fill ended: {error!r}")
            raise
        finally:
            stream.close(0.1)
            spool.close()

    def _sender(self) -> tuple[Spool, Stream]:
        spool = Spool(self._folder / "back-fill", "back-fill", _SPOOL_BYTES, _OLDEST_US, wall_us)
        stream = Stream(spool, self._collector, wall_us, monotonic_us, random.random)
        stream.start()
        return spool, stream

    def _live(self, node: str, spool: Spool, start_us: int, end_us: int) -> None:
        for number, windows in enumerate(live_through(self._nodes[node], self._cluster, node, start_us, end_us)):
            if self._stop.is_set():
                return
            spool.append(windows)
            self.progress = Progress(self.progress.done + len(windows), self.progress.total)
            if number % _LOOK_EVERY == 0:
                self._wait_for_room(spool)

    def _wait_for_room(self, spool: Spool) -> None:
        while spool.pending()[0] > _ROOM and not self._stop.wait(0.05):
            pass
