"""A ledger that fills minute by minute, replicas that look at it, and a clock that moves when told."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from tests.windows import all_received, device, pod, reserved, unallocated, window

from gputally.accounting.line import DeviceWindow, Window
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.notify.figures import Frame
from gputally.collector.notify.idle_pod import PodKey
from gputally.collector.notify.look import Look
from gputally.collector.notify.notifier import Notifier
from gputally.collector.notify.options import Format
from gputally.collector.notify.webhook import Webhook

UTC = ZoneInfo("UTC")
MINUTE_US = 60_000_000
START_US = 1_794_992_400_000_000  # 2026-11-18T09:00:00Z
AFTER_US = 30 * MINUTE_US
RESEARCH = pod("research", "pretrain-0", "trainer")
CARD = b"""\
version: 1
currency: EUR
prices: [{match: {}, valid_from: 2026-01-01, per_gpu_hour: 3.60}]
"""

Devices = Callable[[int], Sequence[DeviceWindow]]  # of a minute


def busy(count: int = 2) -> Devices:
    """The pod uses all that it holds."""
    return lambda _: [device(reserved(RESEARCH, MINUTE_US, 0), uuid=f"GPU-{at}") for at in range(count)]


def idle(count: int = 2) -> Devices:
    """The pod holds as much, and uses nothing."""
    return lambda _: [device(reserved(RESEARCH, 0, MINUTE_US), uuid=f"GPU-{at}") for at in range(count)]


def free(count: int = 2) -> Devices:
    """Nobody holds them."""
    return lambda _: [device(unallocated(MINUTE_US), uuid=f"GPU-{at}") for at in range(count)]


class Stage:
    """`minute` is how many minutes were played; the wall clock stands ten seconds after them."""

    def __init__(self, engine: Engine, url_file: Path) -> None:
        self.engine = engine
        self.url_file = url_file
        self.minute = 0
        self.later_us = 0
        self.exempt = list[PodKey]()
        self._committer = Committer(engine, UTC, max_age_us=None)

    def now_us(self) -> int:
        """The wall clock."""
        return START_US + self.minute * MINUTE_US + 10_000_000 + self.later_us

    def price(self) -> None:
        """Apply a rate card."""
        apply_file(self.engine, Kind.RATES, CARD, "ann", START_US)

    def play(self, minutes: int, devices: Devices, node: str = "gpu-2") -> None:
        """Minutes of a node go by."""
        starts = [START_US + (self.minute + at) * MINUTE_US for at in range(minutes)]
        self.minute += minutes
        self._commit(window(*devices(at), node=node, start_us=at) for at in starts)

    def pass_by(self, minutes: int) -> None:
        """Minutes in which no window arrives."""
        self.minute += minutes

    def _commit(self, windows: Iterable[Window]) -> None:
        self._committer.commit(all_received(list(windows)), now_us=self.now_us())

    def replica(self, name: str = "one", looks: type[Look] = Look) -> Notifier:
        """A collector's notifier, as `main` makes it."""
        frame = Frame(UTC, "https://gpu.example.com")
        look = looks(self.engine, frame, AFTER_US, lambda: self.exempt)
        webhook = Webhook(self.url_file, timeout_s=60, now_s=lambda: self.now_us() / 1_000_000)
        return Notifier(self.engine, look, webhook, Format.JSON, frame, name, self.now_us)

    def turns(self, *replicas: Notifier, most: int = 60) -> None:
        """Each takes turns until none has more to send at once; each turn takes a second."""
        for replica in replicas:
            for _ in range(most):
                self.later_us += 1_000_000
                if not replica.turn():
                    break
        self.later_us = 0
