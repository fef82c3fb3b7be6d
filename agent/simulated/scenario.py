"""A scenario: the GPUs, pods and workloads of a simulated node, as pure functions of wall time.

Nothing here has state: the same instant gives the same answer, whatever was asked before. Times are microseconds since
the Unix epoch, power is milliwatts, energy millijoules, memory bytes. `scenario_file.py` reads scenarios from JSON.
"""

import hashlib
import uuid
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from gputally.accounting.ledger_hour import from_us
from gputally.agent.sample import ContainerRef, DeviceInfo, MigInstance, Process
from gputally.agent.simulated.pattern import Pattern

_UID_SPACE = uuid.UUID("6c1f6b1e-7c3a-5f0e-9d52-2f4f6e2a9b10")  # any fixed value: UIDs are derived, never drawn
_TICK_US = 10_000  # Linux reports start times in ticks of 1/100 s; the simulated node booted at the epoch
_MINUTE_US = 60_000_000


class FaultKind(StrEnum):
    """What can go wrong with a GPU: it falls off the bus, or its driver gives no usable answer."""

    LOST = "lost"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Fault:
    """A GPU is in trouble while `when` is 1."""

    kind: FaultKind
    when: Pattern


@dataclass(frozen=True, slots=True)
class PodRun:
    """One life of a pod: a pod that repeats is a new one, with a new UID, each time."""

    namespace: str
    name: str
    uid: str
    start_us: int

    def filled(self, text: str) -> str:
        """A text in which `{day}` and `{minute}` (since 1970) stand for when this life began."""
        if "{" not in text:
            return text
        day = from_us(self.start_us).strftime("%Y%m%d")
        return text.replace("{day}", day).replace("{minute}", str(self.start_us // _MINUTE_US))


@dataclass(frozen=True, slots=True)
class Container:
    """A container and what it holds, as the device plugin names it: GPUs, MIG devices, replicas of either."""

    name: str
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnerObject:
    """An object of a platform that owns a pod, or an owner of it, as its metadata names it.

    Its texts, and those of a pod's labels and annotations, are filled for each life of the pod (`PodRun.filled`).
    """

    api: str
    kind: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that is on the node while `present` is 1. `uid` is "" where it is to be derived from the name.

    The agent knows nothing of `annotations`, `owners` (the nearest first) and `fails` (the reason for which each of its
    lives ends; "": it succeeds): whoever plays the cluster's API tells them.
    """

    namespace: str
    name: str
    containers: tuple[Container, ...]
    present: Pattern
    uid: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    owners: tuple[OwnerObject, ...] = ()
    fails: str = ""

    def run(self, us: int) -> PodRun | None:
        """The pod that exists at this instant, if any; named as a CronJob names its pods where it repeats."""
        start_us = self.present.run_start(us)
        if start_us is None:
            return None
        name = f"{self.name}-{start_us // _MINUTE_US}" if self.present.repeats else self.name
        uid = self.uid or _derived_uid(self.namespace, name)
        return PodRun(self.namespace, name, uid, start_us)


@dataclass(frozen=True, slots=True)
class InContainer:
    """A workload's place: a container of a pod of the scenario."""

    pod: Pod
    container: str


@dataclass(frozen=True, slots=True)
class OnHost:
    """A workload's place: outside pods, as this user, in this systemd unit ("" for none)."""

    user: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """A process while `present` is 1; on each of its GPUs it is `busy` percent of the time and holds `memory_bytes`."""

    pid: int
    place: InContainer | OnHost
    busy: Pattern
    present: Pattern
    memory_bytes: int
    command: str = ""

    def process(self, us: int) -> Process | None:
        """What /proc says of it at this instant; None while it does not run."""
        start_us = self.present.run_start(us)
        if start_us is None:
            return None
        ticks = start_us // _TICK_US
        if isinstance(self.place, OnHost):
            return Process(self.pid, ticks, None, self.place.user, self.place.unit, self.command)
        return Process(self.pid, ticks, _container_ref(self.place, us), command=self.command)


@dataclass(frozen=True, slots=True)
class Instance:
    """A MIG device with all that happens on it; the device plugin offers it as so many `replicas`, 0: undivided."""

    info: MigInstance
    memory_bytes: int
    workloads: tuple[Workload, ...] = ()
    replicas: int = 0

    def busy_integral(self, start_us: int, end_us: int) -> int:
        """Percent-microseconds in [start_us, end_us) in which its own engines are busy; exact."""
        return sum(workload.busy.integral(start_us, end_us) for workload in self.workloads)

    def memory_used_bytes(self, us: int) -> int:
        """The memory that the processes of this instant hold together."""
        return sum(workload.memory_bytes for workload in self.workloads if workload.present.at(us))


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU with all that happens on it. The flags say what its driver can tell.

    One with `instances` is partitioned: workloads are theirs. The device plugin offers it as so many `replicas`, 0:
    undivided. `mps`: its processes share it through MPS.
    """

    info: DeviceInfo
    idle_mw: int
    max_mw: int
    memory_bytes: int
    workloads: tuple[Workload, ...] = ()
    faults: tuple[Fault, ...] = ()
    instances: tuple[Instance, ...] = ()
    replicas: int = 0
    mps: bool = False
    sample_buffer: bool = True
    process_utilization: bool = True
    energy_counter: bool = True
    gpm: bool = True

    def busy_percent(self, us: int) -> int:
        """Percent of the time in which a kernel executes, at this instant; its workloads never overlap.

        A MIG device's is weighed by its compute slices, and the sum rounded down.
        """
        if not self.instances:
            return sum(workload.busy.at(us) for workload in self.workloads)
        busy = ((each.info.slices or 0) * sum(load.busy.at(us) for load in each.workloads) for each in self.instances)
        return sum(busy) // self._whole

    def busy_integral(self, start_us: int, end_us: int) -> int:
        """Percent-microseconds of busy time in [start_us, end_us); exact, or rounded down where it is partitioned."""
        return self._weighed_integral(start_us, end_us) // self._whole

    @property
    def _whole(self) -> int:
        """What parts of it are weighed against: its compute slices where it is partitioned."""
        return (self.info.slices or 1) if self.instances else 1

    def _weighed_integral(self, start_us: int, end_us: int) -> int:
        if not self.instances:
            return sum(workload.busy.integral(start_us, end_us) for workload in self.workloads)
        return sum((each.info.slices or 0) * each.busy_integral(start_us, end_us) for each in self.instances)

    def power_mw(self, us: int) -> int:
        """Power at this instant: idle power, and the rest in proportion to the busy share; rounded down."""
        return self.idle_mw + (self.max_mw - self.idle_mw) * self.busy_percent(us) // 100

    def energy_mj(self, us: int) -> int:
        """The hardware counter: the integral of power since the Unix epoch, rounded down once."""
        dynamic = (self.max_mw - self.idle_mw) * self._weighed_integral(0, us)  # 1/100 mW µs = 1/100 nJ
        return (self.idle_mw * us * 100 * self._whole + dynamic) // (100_000_000 * self._whole)

    def memory_used_bytes(self, us: int) -> int:
        """The memory that the processes of this instant hold together."""
        on_it = sum(workload.memory_bytes for workload in self.workloads if workload.present.at(us))
        return on_it + sum(instance.memory_used_bytes(us) for instance in self.instances)

    def fault(self, us: int) -> FaultKind | None:
        """What is wrong with the GPU at this instant, if anything."""
        return next((fault.kind for fault in self.faults if fault.when.at(us)), None)


@dataclass(frozen=True, slots=True)
class Holding:
    """A container of a living pod and what it holds, as in `Container`."""

    pod: PodRun
    container: str
    container_id: str
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A simulated node."""

    gpus: tuple[Gpu, ...]
    pods: tuple[Pod, ...] = ()
    workloads: tuple[Workload, ...] = ()

    def containers(self, us: int) -> tuple[Holding, ...]:
        """Every container of the pods that exist at this instant, those without a GPU too."""
        runs = ((pod, pod.run(us)) for pod in self.pods)
        return tuple(_holding(run, container) for pod, run in runs if run is not None for container in pod.containers)


@lru_cache(maxsize=1024)  # asked for in every sample; hashing would be a tenth of a simulated node's work
def _derived_uid(namespace: str, name: str) -> str:
    return str(uuid.uuid5(_UID_SPACE, f"{namespace}/{name}"))


def replica_id(uuid: str, number: int) -> str:
    """What the device plugin calls one of the replicas of a GPU or MIG device."""
    return f"{uuid}::{number}"


@lru_cache(maxsize=1024)
def container_id(pod_uid: str, container: str) -> str:
    """The id (64 hex digits) of a simulated container; derived, so that every reader finds the same."""
    return hashlib.sha256(f"{pod_uid}/{container}".encode()).hexdigest()


def _holding(run: PodRun, container: Container) -> Holding:
    return Holding(run, container.name, container_id(run.uid, container.name), container.gpus)


def _container_ref(place: InContainer, us: int) -> ContainerRef | None:
    run = place.pod.run(us)
    if run is None:
        return None
    return ContainerRef(run.uid, container_id(run.uid, place.container), "burstable", "containerd", "pod")
