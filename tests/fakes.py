"""Stateful stand-ins that several tests share: a driver, a process table and a kubelet that one can break and mend."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from gputally.accounting.states import Source
from gputally.agent.probe.glance import Answer
from gputally.agent.probe.sampler import DriverError, DriverEvents
from gputally.agent.reservations.kubelet import (
    ContainerClaim,
    ContainerReservation,
    Reservations,
    ReservationsUnavailable,
)
from gputally.agent.sample import CallTimes, DeviceInfo, GpuProcess, Process, ProcessReading, Reading


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now_us: int = 0

    def __call__(self) -> int:
        return self.now_us


@dataclass
class FakeDriver:
    """A driver whose devices answer, until `broken` says what they raise instead. It notes what it was asked.

    `broken` is by (what is asked, device), and for "open" and "devices" by (what is asked, "").
    """

    infos: list[DeviceInfo]
    on_device: dict[str, tuple[GpuProcess, ...] | None] = field(default_factory=dict)
    broken: dict[tuple[str, str], DriverError] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    is_open: bool = False
    problem: str = ""
    answer: Answer | None = None  # of each device at a glance; None: they are not to be glanced at
    told: DriverEvents = field(default_factory=DriverEvents)  # what the next call of `events` tells

    def open(self) -> None:
        self._ask("open", "")
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def devices(self) -> Sequence[DeviceInfo]:
        self._ask("devices", "")
        return tuple(self.infos)

    def events(self) -> DriverEvents:
        told, self.told = self.told, DriverEvents()
        return told

    def read(self, uuid: str) -> Reading:
        self._ask("read", uuid)
        return Reading(busy=(), busy_source=Source.DEVICE_SAMPLES)

    def read_lightly(self, uuid: str) -> Reading:
        self._ask("read_lightly", uuid)
        return Reading(busy=None, busy_source=Source.DEVICE_SAMPLES)

    def glance(self, uuids: Sequence[str], now_us: int, *, light: bool) -> tuple[Answer, ...] | None:
        if self.answer is None:
            return None
        for uuid in uuids:
            self._ask("glance lightly" if light else "glance", uuid)
        return (self.answer,) * len(uuids)

    def read_processes(self, uuid: str) -> ProcessReading:
        self._ask("read_processes", uuid)
        return ProcessReading(self.on_device.get(uuid, ()), ())

    def call_times(self) -> tuple[CallTimes, ...]:
        return ()

    def count(self, what: str) -> int:
        return sum(asked == what for asked, _ in self.asked)

    def _ask(self, what: str, uuid: str) -> None:
        self.asked.append((what, uuid))
        if (what, uuid) in self.broken:
            raise self.broken[what, uuid]


@dataclass
class FakeProcesses:
    """A /proc of which one can take processes away."""

    alive: dict[int, Process] = field(default_factory=dict)

    def resolve(self, pid: int) -> Process | None:
        return self.alive.get(pid)


@dataclass
class FakeKubelet:
    """A kubelet that holds what it is told to hold, or is away; `asked` counts up with each poll."""

    containers: list[ContainerReservation] = field(default_factory=list)
    allocatable: tuple[tuple[str, str], ...] | None = ()
    claims: tuple[ContainerClaim, ...] = ()
    stale: bool = False
    away: str = ""
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def poll(self) -> Reservations:
        self.asked.release()
        if self.away:
            raise ReservationsUnavailable(self.away)
        problem = "the kubelet's word is old" if self.stale else ""
        return Reservations(0, self.stale, tuple(self.containers), self.allocatable, self.claims, problem)
