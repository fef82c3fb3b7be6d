"""A node of one GPU and its meter, ticked by the second."""

from dataclasses import dataclass, field

from gputally.accounting.invariants import violations
from gputally.accounting.keys import Holding, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.settlement import reserved_key
from gputally.accounting.states import OwnerKind, Source
from gputally.agent.held import Placement
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.reservations.holders import Grant, place
from gputally.agent.sample import (
    BusySample,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    ProcessBusy,
    ProcessKind,
    ProcessReading,
    Reading,
    Sample,
)

S = 1_000_000
MINUTE = 60 * S
T0 = 28_333_333 * MINUTE  # a full minute of the epoch
INFO = DeviceInfo("GPU-0", 0, "H100")
A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
HOST = Owner(OwnerKind.HOST, user="user-1000")
PROCESS = GpuProcess(7, ProcessKind.COMPUTE)


def held_by(*grants: Grant) -> Placement:
    return lambda devices: place(devices, grants, [])


@dataclass
class Node:
    """A node of one GPU, ticked by the second. The driver's buffer has an entry each 200 ms."""

    meter: Meter = field(
        default_factory=lambda: Meter(MeterSettings("c", "n"), lambda _process, _held: (HOST,), kubernetes=True)
    )
    now: int = 0
    wall_offset: int = T0
    energy: int = 1000
    windows: list[Window] = field(default_factory=list)

    def hold(self, *grants: Grant) -> None:
        self.meter.on_reservations(self.now * S, held_by(*grants))

    def tick(self, percent: int = 0, *, process: int | None = None, **device: object) -> list[Window]:
        wall = self.wall_offset + self.now * S
        entries = tuple(BusySample(wall - S + k * S // 5, percent) for k in range(1, 6))
        self.energy += 200
        reading = Reading(entries, Source.DEVICE_SAMPLES, percent, power_mw=200_000, energy_mj=self.energy,
                          energy_supported=True)  # fmt: skip
        detail = None
        if self.now % 5 == 0:
            detail = ProcessReading((PROCESS,), () if process is None else (ProcessBusy(7, process),))
        sample = DeviceSample(INFO, **{"reading": reading, "detail": detail, **device})  # type: ignore[arg-type]
        made = self.meter.on_sample(Sample(self.now * S, wall, (sample,)))
        self.windows += made
        self.now += 1
        return made

    def run(self, seconds: int, percent: int = 0, **ticks: object) -> None:
        for _ in range(seconds):
            self.tick(percent, **ticks)  # type: ignore[arg-type]

    def silent(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.windows += self.meter.on_time(self.now * S)

    def stop(self) -> None:
        self.windows += self.meter.cut((self.now - 1) * S)

    def lines(self) -> dict[LineKey, Line]:
        """All lines of all windows, summed by key."""
        sums: dict[LineKey, Line] = {}
        for device in self.devices():
            for line in device.lines:
                sums[line.key] = _sum(sums.get(line.key), line)
        return sums

    def devices(self) -> list[DeviceWindow]:
        assert [violations(window) for window in self.windows] == [[] for _ in self.windows]
        return [device for window in self.windows for device in window.devices]


def _sum(a: Line | None, b: Line) -> Line:
    if a is None:
        return b
    names = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us", "intruder_us", "held_us")
    return Line(a.key, b.source, **{name: getattr(a, name) + getattr(b, name) for name in names},
                energy_dynamic_mj=(a.energy_dynamic_mj or 0) + (b.energy_dynamic_mj or 0))  # fmt: skip


def line_of(node: Node, key: LineKey) -> Line:
    return node.lines().get(key, Line(key, Source.NONE))


MINE = reserved_key(Holding(A))
