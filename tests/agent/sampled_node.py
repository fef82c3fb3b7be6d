"""Devices that are sampled tick by tick, on a driver and a /proc that one can break."""

from dataclasses import dataclass, field, replace

from tests.fakes import Clock, FakeDriver, FakeProcesses

from gputally.agent.probe.sampler import (
    Cadence,
    Sampler,
)
from gputally.agent.sample import (
    ContainerRef,
    DeviceInfo,
    GpuProcess,
    MigInstance,
    Process,
    ProcessKind,
    Sample,
)

S = 1_000_000
T0 = 1_700_000_000 * S
A, B = DeviceInfo("GPU-a", 0, "H100"), DeviceInfo("GPU-b", 1, "H100")
GPU_PROCESS = GpuProcess(7, ProcessKind.COMPUTE, 1 << 30)
PARTED = replace(A, mig_enabled=True, slices=7, instances=(MigInstance("MIG-1", 7, 0, 1, "1g.10gb"),))
PROCESS = Process(7, 123, ContainerRef("uid-a", "c0ffee", "burstable", "containerd", "pod"))


@dataclass
class Node:
    """A sampler on a driver and a /proc that one can break; a tick is a second."""

    driver: FakeDriver = field(default_factory=lambda: FakeDriver([A, B], {"GPU-a": (GPU_PROCESS,)}))
    processes: FakeProcesses = field(default_factory=lambda: FakeProcesses({7: PROCESS}))
    monotonic: Clock = field(default_factory=Clock)
    wall: Clock = field(default_factory=lambda: Clock(T0))

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.driver, self.processes, Cadence(), self.monotonic, self.wall)

    def tick(self, *, full: bool = False, after_us: int = S) -> Sample:
        sample = self.sampler.sample(full=full)
        self.monotonic.now_us += after_us
        self.wall.now_us += after_us
        return sample

    def ticks(self, count: int) -> list[Sample]:
        return [self.tick() for _ in range(count)]

    def enumerates(self) -> bool:
        """Whether the next tick does."""
        before = self.driver.count("devices")
        self.tick()
        return self.driver.count("devices") > before
