"""A probe that tests drive: one GPU, and a clock that moves only while somebody waits for a sample."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fakes import Clock

from gputally.accounting.states import Source
from gputally.agent.probe.message import Failure, Message
from gputally.agent.sample import (
    BusySample,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    ProcessReading,
    Reading,
    Sample,
)

S = 1_000_000
T0 = 28_333_333 * 60 * S  # the wall clock where the monotonic one is 0: a full minute
UUID = "GPU-00000000-0000-4000-8000-000000000001"
INFO = DeviceInfo(UUID, 0, "H100")


@dataclass
class FakeProbe:
    """A supervisor of a probe on a node of one GPU: time passes only while it is waited for.

    It is silent, or brings a failure, or a sample each second; every fifth one with the processes that are there.
    """

    clock: Clock
    percent: int = 50
    silent: bool = False
    trouble: str = ""
    devices: bool = True
    processes: tuple[GpuProcess, ...] = ()
    rejected: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    known: list[frozenset[str]] = field(default_factory=list)
    on_receive: Callable[[], object] = lambda: None
    problem: str = ""
    hidden: str = ""
    stuck: bool = False
    is_released: bool = False
    rest_us: int = 0
    fileno: int | None = None
    has_spoken: bool = False

    def receive(self, timeout_us: int) -> Message | None:
        self.starts = self.starts or 1
        self.clock.now_us += timeout_us
        self.on_receive()
        if self.silent or self.is_released:
            return None
        if self.trouble:
            return Failure(self.trouble)
        return self._sample(full=self.clock.now_us % (5 * S) == 0)

    def flush(self, deadline_us: int) -> list[Sample]:
        if self.trouble or self.is_released:
            return []
        if self.silent:
            self.clock.now_us += deadline_us
            return []
        self.clock.now_us += S // 10
        return [self._sample(full=True)]

    def release(self) -> bool:
        self.is_released = True
        return not self.stuck

    def take_up(self) -> None:
        self.is_released = False

    def know(self, uids: frozenset[str]) -> None:
        self.known.append(uids)

    def _sample(self, *, full: bool) -> Sample:
        now_us, wall_us = self.clock.now_us, T0 + self.clock.now_us
        busy = tuple(BusySample(wall_us - S + k * S // 5, self.percent) for k in range(1, 6))
        reading = Reading(
            busy, Source.DEVICE_SAMPLES, self.percent, 7, 80, 300_000, now_us // 1000, True, self.rejected
        )
        detail = ProcessReading(self.processes, ()) if full else None
        return Sample(
            now_us, wall_us, (DeviceSample(INFO, reading, detail),) if self.devices else (), full, self.hidden
        )
