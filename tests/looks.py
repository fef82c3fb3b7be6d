"""One look at a node with one H100, whatever is on it and whoever holds it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.states import OwnerKind, Source
from gputally.agent.attribution.identity import Identity, NoPods, PodName
from gputally.agent.held import Held
from gputally.agent.once.look import Look
from gputally.agent.sample import (
    BusySample,
    ContainerRef,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    Process,
    ProcessBusy,
    ProcessKind,
    ProcessReading,
    Reading,
    Sample,
)

GIB = 1 << 30
TRAIN = Owner(OwnerKind.POD, "research", "train-0", "main", "uid-a")
CHAT = Owner(OwnerKind.POD, "inference", "chat", "server", first_seen_us=5)
REF = ContainerRef("uid-a", "c0ffee", "burstable", "containerd", "pod")
IN_POD = GpuProcess(4711, ProcessKind.COMPUTE, 61 * GIB, Process(4711, 9, REF))
ON_HOST = GpuProcess(812, ProcessKind.COMPUTE, None, Process(812, 8, None, "user-1000", "session-1.scope"))
GONE = GpuProcess(99, ProcessKind.COMPUTE)
READING = Reading(
    busy=(BusySample(1, 20), BusySample(2, 93)),
    busy_source=Source.DEVICE_SAMPLES,
    memory_used_bytes=62 * GIB,
    memory_total_bytes=80 * GIB,
    power_mw=612_400,
    energy_mj=123_456_789,
    energy_supported=True,
)
DETAIL = ProcessReading((IN_POD, ON_HOST), (ProcessBusy(4711, 91),))
GOOD = DeviceSample(DeviceInfo("GPU-0", 0, "NVIDIA H100"), READING, DETAIL)
MINE = Held((Holding(TRAIN),))


@dataclass
class Pods:
    """The API's pods: one, whose container is known."""

    containers: dict[str, tuple[PodName, str]] = field(
        default_factory=lambda: {"c0ffee": (PodName("uid-a", "research", "train-0"), "main")}
    )

    def of_uid(self, uid: str) -> PodName | None:
        return next((pod for pod, _ in self.containers.values() if pod.uid == uid), None)

    def of_container(self, container_id: str) -> tuple[PodName, str] | None:
        return self.containers.get(container_id)


OWNERS = Identity(Pods(), kubernetes=True).owners
NAMELESS = Identity(NoPods(), kubernetes=True).owners


def look(device: DeviceSample = GOOD, held: Held = MINE, problems: Sequence[str] = ()) -> Look:
    sample = Sample(1, 1_735_689_600_250_000, (device,), full=True)
    return Look("node-1", sample, {device.info.uuid: held}, tuple(problems))
