"""One tick of the probe: ask the driver about every device, and /proc about every process, and make a Sample.

The driver and the process table stand behind protocols that are declared here, by their user: `nvml.py` is NVML,
`simulated.py` obeys the same physics, `process.py` reads /proc.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from gputally.agent.probe.glance import Answer, Detail, Glance, Listed, listed
from gputally.agent.sample import (
    CallTimes,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    Process,
    ProcessReading,
    Reading,
    Sample,
)

_SHORTEST_PERIOD_US = 166_000  # a driver measures utilisation in periods of 1/6 s to 1 s, and keeps them for seconds
_ACTIVITY_US = 750_000  # how often it is asked for them by samples that follow each other faster than that
_CLOCKS_APART_US = 5_000  # a tenth of what counts as a step of the wall clock
_CLOCK_TRIES = 5
_MPS_SERVER = "nvidia-cuda-mps"  # of nvidia-cuda-mps-server: the kernel keeps 15 characters of a process's name
_OFF_THE_BUS = 79  # the Xid of a GPU that can no longer be reached


class DriverError(Exception):
    """The driver cannot be used. The message is one line that says what to do."""


class DriverUnavailable(DriverError):
    """No library, no driver, no GPU or no permission: look again later."""


class DriverReplaced(DriverError):
    """The driver was upgraded or re-initialised under us: only a new process can use it."""


class DeviceUnavailable(DriverError):
    """This device is lost or needs a reset; the others go on."""


class DeviceSilent(DriverError):
    """This device gave no usable answer this time; ask again on the next tick."""


@dataclass(frozen=True, slots=True)
class DriverEvents:
    """What a driver told of its own accord: Xids by device.

    `changed`: the devices are no longer what they were: partitions were made or destroyed, or one must be reset.
    """

    xids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    changed: bool = False


class Driver(Protocol):
    """What the sampler needs of a GPU driver. One thread calls it; it keeps a cursor per device."""

    def open(self) -> None:
        """Load and initialise; raises DriverUnavailable or DriverReplaced. Opening twice is harmless."""

    def close(self) -> None:
        """Let go of the driver, so that it can be upgraded. Closing twice is harmless."""

    def devices(self) -> Sequence[DeviceInfo]:
        """Enumerate the devices; forgets handles, keeps cursors. Raises DriverError.

        A device that was seen before and is lost now stays in the list.
        """

    @property
    def problem(self) -> str:
        """One line: what `devices` could not list when it was last called, and what to do; empty when nothing."""

    def events(self) -> DriverEvents:
        """What happened since the last call, without waiting; raises DriverReplaced."""

    def read(self, uuid: str) -> Reading:
        """The cheap values of a device; raises DeviceUnavailable, DeviceSilent or DriverReplaced."""

    def read_lightly(self, uuid: str) -> Reading:
        """As `read`, but it need not ask for what a later `read` still tells; `busy` is then None of DEVICE_SAMPLES."""

    def glance(self, uuids: Sequence[str], now_us: int, *, light: bool) -> tuple[Answer, ...] | None:
        """The bare answers of these devices, where each is as it was when it was read before; None: read each.

        `now_us` by the wall clock. `light`: as far as `read_lightly` asks for them.
        """

    def read_processes(self, uuid: str) -> ProcessReading:
        """Who is on the device, with `process` not yet filled in; raises as `read` does."""

    def call_times(self) -> tuple[CallTimes, ...]:
        """How long its calls took since this was asked before; () where they are not measured."""


class Processes(Protocol):
    """What the sampler needs of /proc."""

    def resolve(self, pid: int) -> Process | None:
        """The process with this pid now; None when there is none. Cached as long as it is the same process."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often what is read, in microseconds. Process lists take the driver's exclusive locks, so they are rarer.

    Of samples that follow each other faster than the driver measures utilisation, only some ask for it.
    """

    sample_us: int = 1_000_000
    processes_us: int = 5_000_000
    topology_us: int = 60_000_000


class Sampler:
    """Makes one Sample per call; decides by the monotonic clock what is due. `devices` are as last enumerated.

    A device that fails is enumerated anew at the next tick (a reset gives other handles, a partition may be gone), and
    as long as it goes on failing after 1, 2, 4 ... s: to enumerate wakes and initialises GPUs.
    """

    def __init__(
        self,
        driver: Driver,
        processes: Processes,
        cadence: Cadence,
        monotonic_us: Callable[[], int],
        wall_us: Callable[[], int],
    ) -> None:
        self._driver = driver
        self._processes = processes
        self._cadence = cadence
        self._monotonic_us = monotonic_us
        self._wall_us = wall_us
        self._devices: Sequence[DeviceInfo] = ()
        self._topology_due_us = self._processes_due_us = self._activity_due_us = -1
        self._failing: set[str] = set()  # devices, at this tick
        self._wait_us = 0  # from one enumeration to the next while the same devices fail
        self._xids: dict[str, tuple[int, ...]] = {}  # not yet part of a sample
        self._listed: Listed = {}

    def sample(self, *, full: bool = False) -> Sample:
        """Read every device; `full` asks for processes whether or not they are due. Raises DriverError."""
        began_us = self._monotonic_us()
        enumerated = self._hear() or began_us >= self._topology_due_us
        if enumerated:
            self._topology_due_us = began_us  # stays due if this fails
            self._devices = self._driver.devices()
        now_us, wall_us = self._now()  # of the readings: to wake the GPUs before them can take most of a minute
        detail, is_light = self._due(now_us, full=full)
        failed_before, self._failing = self._failing, set()
        read = self._driver.read_lightly if is_light else self._driver.read
        samples = tuple(self._device(info, read, detail=detail) for info in self._devices)
        self._plan(now_us, failed_before, enumerated=enumerated)
        self._done(now_us, detail=detail, light=is_light)
        if detail:
            self._listed = listed(samples)
        took_us = self._monotonic_us() - began_us
        calls = self._driver.call_times() if detail else ()
        return Sample(now_us, wall_us, samples, detail, self._driver.problem, took_us, calls)

    def glance(self, *, full: bool = False) -> Glance | None:
        """As `sample`, where every device is as it was at the tick before; None: take a sample. Raises DriverError."""
        began_us = self._monotonic_us()
        if self._failing or began_us >= self._topology_due_us:
            return None
        if self._hear():
            self.enumerate_next()
        if self._xids or began_us >= self._topology_due_us:
            return None
        now_us, wall_us = self._now()
        detail, is_light = self._due(now_us, full=full)
        answers = self._driver.glance([info.uuid for info in self._devices], wall_us, light=is_light)
        if answers is None:
            return None
        details = tuple(self._changed_detail(info.uuid) for info in self._devices) if detail else None
        self._plan(now_us, set(), enumerated=False)
        self._done(now_us, detail=detail, light=is_light)
        calls = self._driver.call_times() if detail else ()
        return Glance(now_us, wall_us, self._monotonic_us() - began_us, answers, details, calls)

    def enumerate_next(self) -> None:
        """Have the next sample enumerate the devices, as there may be others."""
        self._topology_due_us = -1

    def _due(self, now_us: int, *, full: bool) -> tuple[bool, bool]:
        """Whether processes are asked for at this tick, and whether no activity is."""
        detail = full or now_us >= self._processes_due_us
        is_fast = self._cadence.sample_us < _SHORTEST_PERIOD_US
        return detail, is_fast and not detail and now_us < self._activity_due_us

    def _done(self, now_us: int, *, detail: bool, light: bool) -> None:
        """When these are due again."""
        if detail:
            self._processes_due_us = now_us + self._cadence.processes_us - self._cadence.sample_us // 2
        if not light:
            self._activity_due_us = now_us + _ACTIVITY_US

    def _now(self) -> tuple[int, int]:
        """Both clocks at one instant: a pause between the two readings would look like a step of the wall clock."""
        for _ in range(_CLOCK_TRIES):
            before_us, wall_us, after_us = self._monotonic_us(), self._wall_us(), self._monotonic_us()
            if after_us - before_us <= _CLOCKS_APART_US:
                break
        return before_us, wall_us

    def _hear(self) -> bool:
        """Take the driver's events; whether the devices are no longer what they were."""
        events = self._driver.events()
        for uuid, xids in events.xids.items():
            self._xids[uuid] = self._xids.get(uuid, ()) + xids
        return events.changed

    def _plan(self, now_us: int, failed_before: set[str], *, enumerated: bool) -> None:
        """When to enumerate next: at once for a device that began to fail, ever later for those that go on."""
        if enumerated:
            self._topology_due_us = now_us + self._cadence.topology_us
        if not self._failing:
            return
        if self._failing - failed_before:
            self._wait_us = 0
        elif enumerated:
            self._wait_us = min(max(self._cadence.sample_us, 2 * self._wait_us), self._cadence.topology_us)
        else:
            return
        self._topology_due_us = min(self._topology_due_us, now_us + self._wait_us)

    def _device(self, info: DeviceInfo, read: Callable[[str], Reading], *, detail: bool) -> DeviceSample:
        xids = self._xids.pop(info.uuid, ())
        try:
            if _OFF_THE_BUS in xids:
                raise DeviceUnavailable(f"Xid {_OFF_THE_BUS}: the GPU has fallen off the bus")
            reading = read(info.uuid)
        except DeviceUnavailable as error:
            self._failing.add(info.uuid)
            return DeviceSample(info, unavailable=True, error=str(error), xids=xids)
        except DeviceSilent as error:
            self._failing.add(info.uuid)
            return DeviceSample(info, error=str(error), xids=xids)
        return DeviceSample(info, reading, self._detail(info.uuid) if detail else None, xids=xids)

    def _detail(self, uuid: str) -> ProcessReading | None:
        """Who is on the device; None when it could not be asked this time (the next full tick asks again)."""
        try:
            found = self._driver.read_processes(uuid)
        except (DeviceUnavailable, DeviceSilent):
            self._failing.add(uuid)
            return None
        if not found.processes:
            return found
        return replace(found, processes=tuple(self._resolved(process) for process in found.processes))

    def _changed_detail(self, uuid: str) -> Detail:
        """Who is on the device, but for those that were told before: as a rule nobody has come or gone."""
        found, before = self._detail(uuid), self._listed.get(uuid)
        if found is None or found.processes is None or found.processes != before:
            self._listed.pop(uuid, None)
            if found is not None and found.processes is not None:
                self._listed[uuid] = found.processes
            return found, False
        return replace(found, processes=None), True

    def _resolved(self, process: GpuProcess) -> GpuProcess:
        """Read /proc right after the driver's list: a process may end at any time."""
        found = self._processes.resolve(process.pid)
        server = found is not None and found.command == _MPS_SERVER
        return GpuProcess(process.pid, process.kind, process.memory_bytes, found, process.instance, server)
