"""A node whose driver is the real `Nvml` on the test library, metered into windows, one second a tick."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fakes import FakeProcesses
from tests.nvml.library import NvmlScenario
from tests.nvml.scenarios import NOW, SECOND, Play

from gputally.accounting.invariants import violations
from gputally.accounting.keys import Owner
from gputally.accounting.line import Line, Window
from gputally.accounting.states import OwnerKind, Reason
from gputally.agent.held import Held
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.probe.glance import Samples
from gputally.agent.probe.sampler import Cadence, DriverError, DriverReplaced, Sampler
from gputally.agent.reservations.holders import Grant, place
from gputally.agent.sample import GpuProcess, Process, Sample

SOMEBODY = Owner(OwnerKind.HOST, user="user-1000")
Lines = dict[tuple[Owner, str, Reason], Line]


@dataclass
class Node:
    """`grants`: what the kubelet lists, of the replicas `offered`; None: there is no kubelet.

    `owners` and `commands` are by pid; every other process is SOMEBODY's.
    """

    start: Play
    scenario: NvmlScenario
    grants: tuple[Grant, ...] | None = None
    offered: tuple[str, ...] = ()
    owners: dict[int, Owner] = field(default_factory=dict)
    commands: dict[int, str] = field(default_factory=dict)
    seconds: int = 0
    windows: list[Window] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    probes: int = 0

    def __post_init__(self) -> None:
        self.meter = Meter(MeterSettings("c", "n"), self._owners_of, kubernetes=self.grants is not None)
        self.hold(*self.grants or ())
        self._start_probe()

    def hold(self, *grants: Grant) -> None:
        """From now on the kubelet lists these."""
        self.meter.on_reservations(self.seconds * SECOND, lambda devices: place(devices, grants, self.offered))

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.driver.at(NOW + self.seconds * SECOND)
            self.windows += self._tick()
            self.seconds += 1

    def stop(self) -> Lines:
        """Lines of the first GPU, of all windows, which must have different keys."""
        lines = [line for window in self.close() for line in window.devices[0].lines]
        sums = {(line.key.owner, line.key.partition, line.key.reason): line for line in lines}
        assert len(sums) == len(lines)
        return sums

    def close(self) -> list[Window]:
        self.windows += self.meter.cut((self.seconds - 1) * SECOND)
        assert [violations(window) for window in self.windows] == [[]] * len(self.windows)
        return self.windows

    def _owners_of(self, process: GpuProcess, _held: Held) -> tuple[Owner, ...]:
        return (self.owners.get(process.pid, SOMEBODY),)

    def _tick(self) -> list[Window]:
        try:
            self.driver.open()
            self.samples.append(self.reader.whole(self.sampler.glance() or self.sampler.sample()))
        except DriverReplaced:
            self._start_probe()
        except DriverError:
            pass
        else:
            return self.meter.on_sample(self.samples[-1])
        return self.meter.on_time(self.seconds * SECOND)

    def _start_probe(self) -> None:
        self.probes += 1
        self.driver = self.start(self.scenario)
        self.driver.at(NOW + self.seconds * SECOND)
        pids = {process.pid for gpu in self.scenario.gpus for process in gpu.processes}
        table = FakeProcesses({pid: Process(pid, 1, command=self.commands.get(pid, "")) for pid in pids})
        monotonic_us: Callable[[], int] = lambda: self.seconds * SECOND  # noqa: E731
        self.reader = Samples()
        self.sampler = Sampler(self.driver, table, Cadence(), monotonic_us, lambda: NOW + monotonic_us())
