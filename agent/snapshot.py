"""What the agent knows of itself and its node at one instant, made for whoever asks.

Plain frozen nouns, so that the last one can be handed to other threads without a lock. None always means "not known".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gputally.accounting.states import OwnerKind, State
from gputally.agent.idle_spell import IdleSpell
from gputally.agent.sample import CallTimes, DeviceInfo, GpmReading, MigInstance, Reading, Vitals
from gputally.proto.certificate import Validity


@dataclass(frozen=True, slots=True)
class Place:
    """Who holds a device, or a MIG instance, alone."""

    namespace: str
    pod: str
    container: str


@dataclass(frozen=True, slots=True)
class PartitionSnapshot:
    """One MIG device at the last sample; `quality` is GPM's last word on it, `place` who holds all of it."""

    info: MigInstance
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    quality: GpmReading | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class DeviceSnapshot:
    """One device. What counts only grows (since the agent started); the rest is the last sample's.

    Counts: `time_us` is empty until the device's first window has ended; `unreserved_us` and `intruder_us`, by kind of
    owner, are time that processes without a reservation used, and that they used although somebody else held it (a
    memo: that time is its holder's); `xids` by code. `info`, `available`, `reading` and `vitals` are None where the
    device did not answer, `ghost_memory_bytes` (of pids that are gone) and `intruder_memory_bytes` also where nobody
    can tell.
    """

    uuid: str
    model: str
    time_us: Mapping[State, int] = field(default_factory=dict)
    energy_mj: int | None = None
    unreserved_us: Mapping[OwnerKind, int] = field(default_factory=dict)
    intruder_us: Mapping[OwnerKind, int] = field(default_factory=dict)
    xids: Mapping[int, int] = field(default_factory=dict)
    info: DeviceInfo | None = None
    available: bool | None = None
    reading: Reading | None = None
    vitals: Vitals | None = None
    quality: GpmReading | None = None
    last_xid: int | None = None
    ghost_memory_bytes: int | None = None
    intruder_memory_bytes: int | None = None
    place: Place | None = None
    partitions: tuple[PartitionSnapshot, ...] = ()


@dataclass(frozen=True, slots=True)
class PodSnapshot:
    """One container of a pod on one device; what counts is since the agent started or the pod came back.

    `unreserved_us` and `intruder_us` as in `DeviceSnapshot`; `memory_bytes` is what its processes hold now, None where
    that is not known.
    """

    namespace: str
    pod: str
    container: str
    uuid: str
    time_us: Mapping[State, int] = field(default_factory=dict)
    energy_mj: int | None = None
    unreserved_us: int = 0
    intruder_us: int = 0
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PodInfo:
    """What the API says of a pod that holds something: the object that manages it, and its label IDLE_ALERT.

    `started_us` is when the kubelet took it on, microseconds since the epoch; None unknown.
    """

    namespace: str
    pod: str
    workload_kind: str = ""
    workload: str = ""
    idle_alert: str = ""
    started_us: int | None = None


@dataclass(frozen=True, slots=True)
class SourceState:
    """Something the agent reads (nvml, kubelet, api): whether the last reading succeeded, and how long it took."""

    name: str
    up: bool
    duration_us: int | None = None


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What waits on the disk, and what was refused since the spool was made, by reason: full, too-old, disk, damaged.

    `oldest_us` is the end of the oldest waiting window (microseconds since the epoch); `corrupted` counts files that
    were moved aside since the agent started; `error` is the disk's last complaint, empty when the last write succeeded;
    `held` counts windows that wait in memory until the disk takes them.
    """

    windows: int = 0
    bytes: int = 0
    oldest_us: int | None = None
    refused_windows: Mapping[str, int] = field(default_factory=dict)
    refused_capacity_us: Mapping[str, int] = field(default_factory=dict)
    corrupted: int = 0
    error: str = ""
    held: int = 0


@dataclass(frozen=True, slots=True)
class StreamState:
    """How the conversation with the collector stands. `error` is one line, empty once an ack has come.

    `certificate`: of our own, as it was shown last; None: there is none. `last_ack_us` is by the monotonic clock (for
    durations), `last_ack_wall_us` by the wall clock (for people).
    """

    running: bool = False
    connected: bool = False
    last_ack_us: int | None = None
    last_ack_wall_us: int | None = None
    error: str = ""
    connections: int = 0
    batches_sent: int = 0
    windows_sent: int = 0
    refusals: Mapping[str, int] = field(default_factory=dict)
    certificate: Validity | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that /metrics and /readyz say.

    `spells`: who holds what, and since when without using it; `pod_infos`: of these pods, where the API knows them;
    `rejected` counts refused readings by reason; `calls`:
    how long the driver's calls took since the agent started; `stream` is None where no collector is set; `not_ready`
    holds one line a reason, and is empty when the agent is ready; `series_refused` counts pods' windows that found no
    room; `released`: somebody asked for the driver, so nothing here has it open.
    """

    node: str
    devices: tuple[DeviceSnapshot, ...] = ()
    pods: tuple[PodSnapshot, ...] = ()
    spells: tuple[IdleSpell, ...] = ()
    pod_infos: tuple[PodInfo, ...] = ()
    samples: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[SourceState, ...] = ()
    calls: tuple[CallTimes, ...] = ()
    spool: SpoolState = field(default_factory=SpoolState)
    stream: StreamState | None = None
    conservation_error_us: int = 0
    series_refused: int = 0
    released: bool = False
    not_ready: tuple[str, ...] = ()
