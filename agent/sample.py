"""The nouns of a sample: what NVML and /proc said about all devices at one instant.

The probe makes them, attribution reads them. They travel through a pipe between the two processes, so they are plain
frozen dataclasses. None always means "not known"; an empty tuple means "asked, and there is nothing".
"""

from dataclasses import dataclass, field
from enum import StrEnum

from gputally.accounting.states import Source


@dataclass(frozen=True, slots=True)
class ContainerRef:
    """What a cgroup path says about its process.

    `kind`: pod, container (an id without a pod), monitor, or user (a container that a user started below his slice).
    """

    pod_uid: str | None
    container_id: str | None
    qos: str | None
    runtime: str | None
    kind: str


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """What a cgroup path says of a Slurm job. `user`: its login name, or the process's where the path does not say."""

    name: str  # job_<id>, as the cgroup is called
    user: str


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc knows it. Identity is (pid, start time)."""

    pid: int
    start_ticks: int  # field 22 of /proc/<pid>/stat, clock ticks since boot
    container: ContainerRef | None = None  # None: not in any container
    user: str = ""  # login name, or the uid in digits where it has no name
    unit: str = ""  # innermost systemd unit of its cgroup path, "" where there is none
    command: str = ""
    job: SlurmJob | None = None  # None: in no job of Slurm's


class ProcessKind(StrEnum):
    """On which of the driver's lists a process stands."""

    COMPUTE = "compute"
    GRAPHICS = "graphics"
    MPS = "mps"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One entry of a device's process lists, merged by pid. `process` is None when /proc had no such pid."""

    pid: int
    kind: ProcessKind
    memory_bytes: int | None = None
    process: Process | None = None
    instance: str = ""  # UUID of the MIG device whose list it stands on; "" on a device that is not partitioned
    server: bool = False  # it is called like the MPS server: overhead, unless a holder runs it


@dataclass(frozen=True, slots=True)
class BusySample:
    """One entry of the driver's utilisation buffer: `percent` busy over (previous entry, end_us].

    `end_us` is the driver's time stamp (CPU wall clock, microseconds since the epoch). `percent` is None for a reading
    that was rejected at the border: the time existed, its value did not.
    """

    end_us: int
    percent: int | None


@dataclass(frozen=True, slots=True)
class ProcessBusy:
    """A process's utilisation over the interval since the previous query of that device, in percent."""

    pid: int
    percent: int


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A MIG device: a compute instance in a GPU instance. Ids are reused after re-creation; the UUID is not.

    `slices`: compute slices of its compute instance, None where the driver did not say. `profile`: as in its name,
    such as `1g.10gb` or `1c.3g.40gb`. `profile_id` and `placement_start` are of its GPU instance: DRA names use them.
    """

    uuid: str
    gpu_instance: int
    compute_instance: int
    slices: int | None
    profile: str
    profile_id: int | None = None
    placement_start: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What does not change while a device is there. `index` is for display only: it is not stable.

    `instances` are the MIG devices on it now, by (GPU instance, compute instance): other instances are another
    partition epoch. `slices`: compute slices of the whole GPU (7 or 4); None unknown or not partitioned.
    """

    uuid: str
    index: int
    model: str
    minor: int | None = None  # N of /dev/nvidiaN
    pci_bus_id: str = ""  # lower case, four-digit domain: 0000:3b:00.0
    mig_enabled: bool = False
    slices: int | None = None
    instances: tuple[MigInstance, ...] = ()


@dataclass(frozen=True, slots=True)
class GpmReading:
    """GPM's averages over (since_us, end_us], wall clock microseconds; in millionths, None where one is not known.

    `graphics` is the time in which any engine was active: the busy measure of a MIG instance. The rest are figures of
    quality, never the billing base.
    """

    since_us: int
    end_us: int
    graphics: int | None = None
    sm: int | None = None
    occupancy: int | None = None
    tensor: int | None = None
    dram: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceReading:
    """The cheap values of one MIG device at one tick. `gpm` is None where GPM gave nothing (yet): not measurable.

    `gpm_supported` False: it never will be, so its time is `no-utilisation`; True with `gpm` None: wait for it.
    """

    uuid: str
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    gpm: GpmReading | None = None
    gpm_supported: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """The cheap values of one device at one tick; the driver's answer, validated.

    `busy`: the buffer's entries since the last read; () when the driver had none (idle, or asked too soon); None where
    the device has no buffer, or, from DEVICE_SAMPLES, where it was not asked this time: a later reading tells.
    `busy_source` says what `busy` or `utilization_percent` is good for as the billing base: DEVICE_SAMPLES,
    DEVICE_RATE, or NONE. `rejected` counts refused readings by reason.
    """

    busy: tuple[BusySample, ...] | None = None
    busy_source: Source = Source.NONE
    utilization_percent: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_mw: int | None = None
    energy_mj: int | None = None
    energy_supported: bool = False
    rejected: dict[str, int] = field(default_factory=dict)
    busy_since_us: int | None = None  # the stamp after which the buffer was read; None: as far back as it was before
    gpm: GpmReading | None = None  # of the whole device, where it is not partitioned: quality figures only
    instances: tuple[InstanceReading, ...] = ()  # one per `DeviceInfo.instances`, in that order


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a device is: degrees Celsius, MHz, and why its clocks are not higher, as NVML's mask of reasons.

    For people and alerts; nothing is billed by it.
    """

    temperature_c: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    clocks_event_reasons: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """The costly values of one device: who is on it, and how busy each was since the previous such reading.

    `processes` is None when the lists could not be read. `busy` is None where the driver cannot tell per process,
    () when every process was idle. `since_us`: the stamp from which `busy` is an average; None: the previous query.
    `vitals` cost little but change slowly, so they are read as rarely.
    """

    processes: tuple[GpuProcess, ...] | None = None
    busy: tuple[ProcessBusy, ...] | None = None
    rejected: dict[str, int] = field(default_factory=dict)
    since_us: int | None = None
    vitals: Vitals = field(default_factory=Vitals)

    @property
    def ghost_memory_bytes(self) -> int | None:
        """Memory that the driver lists for pids which do not exist; None where it cannot tell."""
        if self.processes is None:
            return None
        gone = [process.memory_bytes for process in self.processes if process.process is None]
        known = [memory for memory in gone if memory is not None]
        return sum(known) if len(known) == len(gone) else None


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """One device at one instant. `unavailable`: present but unusable (lost, reset required); then nothing was read.

    `reading` is None when the driver gave no usable answer for this device at this tick; `detail` is None on the ticks
    between process readings.
    """

    info: DeviceInfo
    reading: Reading | None = None
    detail: ProcessReading | None = None
    unavailable: bool = False
    error: str = ""  # why `reading` is None, in the driver's words
    xids: tuple[int, ...] = ()  # Xid events since the last sample; 79 makes the device unavailable


CALL_BOUNDS_US = (100, 1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class CallTimes:
    """How long calls of one name took: `counts` of those within each of CALL_BOUNDS_US, and last of the longer ones."""

    call: str
    counts: tuple[int, ...]
    total_us: int


@dataclass(frozen=True, slots=True)
class Sample:
    """All devices at one instant, by the monotonic clock; `wall_us` is what the wall clock said at that instant.

    `full`: processes were asked for too, whether or not any device could tell. `problem`: one line, which devices are
    not in it and what to do; empty when nothing is known to be missing. `took_us`: how long it took to take, None
    unknown. `calls`: how long the driver's calls took, since the sample before that has any.
    """

    monotonic_us: int
    wall_us: int
    devices: tuple[DeviceSample, ...]
    full: bool = False
    problem: str = ""
    took_us: int | None = None
    calls: tuple[CallTimes, ...] = ()
