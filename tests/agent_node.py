"""An agent in this process, whose probe, kubelet, API and clock a test drives; its spool, meter and poller are real."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.fake_probe import T0, UUID, FakeProbe, S
from tests.fakes import Clock, FakeKubelet

from gputally.accounting.invariants import violations
from gputally.accounting.line import Line, Window
from gputally.accounting.states import Reason
from gputally.agent.agent import Agent, ApiState, Sources
from gputally.agent.attribution.identity import Identity
from gputally.agent.kube.pods import PodTable
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.release import Release
from gputally.agent.reservations.grants import GrantBook, ReservationPoller
from gputally.agent.reservations.kubelet import ContainerReservation
from gputally.agent.rest import Rest
from gputally.agent.sample import (
    ContainerRef,
    GpuProcess,
    Process,
    ProcessKind,
)
from gputally.agent.snapshot import StreamState
from gputally.agent.spell_file import SpellFile
from gputally.agent.spool.spool import Spool
from gputally.agent.totals import Totals
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

MINUTE = 60 * S
DEADLINE_S = 60.0
HELD = ContainerReservation("research", "train", "main", "nvidia.com/gpu", (UUID,))


def process_of(pod_uid: str, pid: int) -> GpuProcess:
    ref = ContainerRef(pod_uid, None, None, None, "pod")
    return GpuProcess(pid, ProcessKind.COMPUTE, process=Process(pid, 1, ref))


@dataclass
class FakeStream:
    state: StreamState = field(default_factory=lambda: StreamState(running=True, batches_sent=3))


@dataclass
class Node:
    """An agent with a probe, a kubelet and an API that one can break and mend; its spool, meter and poller are real."""

    folder: Path
    standing_problem: str = ""
    kubernetes: bool = True
    rest: Rest | None = None

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.probe = FakeProbe(self.clock)
        self.kubelet = FakeKubelet([HELD], allocatable=(("nvidia.com/gpu", UUID),))
        self.uids = {"uid-1"}
        self.api = ApiState(True, "")
        self.stream = FakeStream()
        pods = PodTable()
        book = GrantBook(pods.of_name, self.wall_us)
        poller = ReservationPoller(self.kubelet, book, 3600 * S, self.clock) if self.kubernetes else None
        self.poller = poller
        api = (lambda: self.api) if self.kubernetes else None
        self.spool = Spool(self.folder / "spool", "boot", 1 << 20, 7 * 86_400 * S, self.wall_us)
        owners = Identity(pods, kubernetes=self.kubernetes).owners
        meter = Meter(MeterSettings("c", "n"), owners, kubernetes=self.kubernetes)
        self.release = Release()
        self.node_api = ApiState(True, "")
        self.sources = Sources(
            self.probe,  # type: ignore[arg-type]
            poller,
            lambda: self.uids,
            pods.of_name,
            api,
            self.stream if self.kubernetes else None,
            self.release,
            (lambda: self.node_api) if self.kubernetes else None,
            self.rest,
        )
        totals = Totals(owners, SpellFile(self.folder))
        self.agent = Agent("n", self.sources, meter, self.spool, totals, self.clock, self.standing_problem)
        if poller:
            poller.poll()

    def wall_us(self) -> int:
        return T0 + self.clock.now_us

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.agent.step(S)

    def ask_kubelet(self) -> None:
        assert self.poller
        self.poller.poll()

    @property
    def not_ready(self) -> tuple[str, ...]:
        return self.agent.snapshot.not_ready

    def windows(self) -> list[Window]:
        windows = [codec.decode(pb.Window.FromString(payload)) for _, payload in self.spool.read(0, 1 << 30, 1 << 20)]
        assert [violation for window in windows for violation in violations(window)] == []
        return windows

    def lines(self) -> list[Line]:
        return [line for window in self.windows() for device in window.devices for line in device.lines]

    def sum_of(self, state: str, reason: Reason | None = None) -> int:
        lines = self.lines()
        return sum(getattr(line, f"{state}_us") for line in lines if reason is None or line.key.reason is reason)
