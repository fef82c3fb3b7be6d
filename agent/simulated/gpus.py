"""Simulated GPUs and their processes: a scenario behind the protocols that the sampler declares.

They obey the physics of real ones: energy is the integral of power, the sample buffer holds means over its periods and
forgets, and each query of process utilisation covers the time since the one before it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gputally.accounting.states import Source
from gputally.agent.probe.sampler import DeviceSilent, DeviceUnavailable, DriverEvents
from gputally.agent.sample import (
    BusySample,
    CallTimes,
    DeviceInfo,
    GpmReading,
    GpuProcess,
    InstanceReading,
    Process,
    ProcessBusy,
    ProcessKind,
    ProcessReading,
    Reading,
    Vitals,
)
from gputally.agent.simulated.scenario import FaultKind, Gpu, Instance, Scenario

BUFFER_PERIOD_US = 166_667  # NVML: a utilisation sample covers between 1/6 s and 1 s, by product
BUFFER_DEPTH = 72  # entries; with 1/6 s each about the ten seconds that real buffers reach back
_COOL_C, _WARM_C = 30, 70  # an H100 in cooled air: at rest, and at work
_SLOW_MHZ, _FAST_MHZ, _MEMORY_MHZ = 345, 1980, 2619  # its SM and memory clocks
_PPM_A_PERCENT = 10_000
_GPU_IDLE = 0x1  # nvmlClocksEventReasonGpuIdle


class SimulatedGpus:
    """The `Driver` of a scenario, at the time that `wall_us` tells; it keeps two cursors per device.

    Buffer entries end on multiples of `buffer_period_us` since the epoch: a scenario that changes on that grid is seen
    exactly, any other with means rounded to a whole percent. A clock that was set back makes a device forget its
    cursors, as if it were read for the first time.
    """

    def __init__(
        self,
        scenario: Scenario,
        wall_us: Callable[[], int],
        buffer_period_us: int = BUFFER_PERIOD_US,
        buffer_depth: int = BUFFER_DEPTH,
    ) -> None:
        self._gpus = {gpu.info.uuid: gpu for gpu in scenario.gpus}
        self._wall_us = wall_us
        self._period_us = buffer_period_us
        self._depth = buffer_depth
        self._read_to: dict[str, int] = {}  # per device: the end of the newest buffer entry that was given out
        self._asked_at: dict[str, int] = {}  # per device, MIG or not: up to when means over time were given out

    def open(self) -> None:
        """There is nothing to load. Process utilisation is measured from here on."""
        now_us = self._wall_us()
        for uuid in self._gpus:
            self._asked_at.setdefault(uuid, now_us)

    def close(self) -> None:
        """There is nothing to let go of; cursors are kept, as for a driver that is opened again."""

    def devices(self) -> Sequence[DeviceInfo]:
        """All GPUs of the scenario, lost ones too."""
        return tuple(gpu.info for gpu in self._gpus.values())

    @property
    def problem(self) -> str:
        """Nothing is hidden."""
        return ""

    def events(self) -> DriverEvents:
        """Simulated GPUs tell nothing of their own accord."""
        return DriverEvents()

    def read(self, uuid: str) -> Reading:
        """The cheap values now; raises DeviceUnavailable or DeviceSilent where the scenario has a fault."""
        now_us = self._wall_us()
        gpu = self._healthy(uuid, now_us)
        if gpu.instances:
            instances = tuple(self._instance(gpu, each, now_us) for each in gpu.instances)
            return self._with_figures(gpu, now_us, Reading(instances=instances))
        newest_us = now_us - now_us % self._period_us
        reading = Reading(
            busy=self._new_entries(gpu, newest_us) if gpu.sample_buffer else None,
            busy_source=Source.DEVICE_SAMPLES if gpu.sample_buffer else Source.DEVICE_RATE,
            utilization_percent=_mean_percent(
                gpu.busy_integral(newest_us - self._period_us, newest_us), self._period_us
            ),
        )
        return self._with_figures(gpu, now_us, reading)

    def read_lightly(self, uuid: str) -> Reading:
        """All values now: none of them costs anything."""
        return self.read(uuid)

    def glance(self, uuids: Sequence[str], now_us: int, *, light: bool) -> None:  # noqa: ARG002 - the protocol's names
        """Each is read by itself."""
        return

    def read_processes(self, uuid: str) -> ProcessReading:
        """Who is on the device now, and how busy each was since the last query; raises as `read` does."""
        now_us = self._wall_us()
        gpu = self._healthy(uuid, now_us)
        can_tell = gpu.process_utilization and not gpu.instances and not gpu.mps
        busy = self._process_busy(gpu, now_us) if can_tell else None
        return ProcessReading(tuple(_present(gpu, now_us)), busy, vitals=vitals(gpu.busy_percent(now_us)))

    def call_times(self) -> tuple[CallTimes, ...]:
        """There is no driver whose calls could take time."""
        return ()

    def _with_figures(self, gpu: Gpu, now_us: int, reading: Reading) -> Reading:
        """What the driver tells of every GPU, partitioned or not."""
        return replace(
            reading,
            memory_used_bytes=gpu.memory_used_bytes(now_us),
            memory_total_bytes=gpu.memory_bytes,
            power_mw=gpu.power_mw(now_us),
            energy_mj=gpu.energy_mj(now_us) if gpu.energy_counter else None,
            energy_supported=gpu.energy_counter,
        )

    def _instance(self, gpu: Gpu, instance: Instance, now_us: int) -> InstanceReading:
        gpm = self._average(instance, now_us) if gpu.gpm else None
        used_bytes = instance.memory_used_bytes(now_us)
        return InstanceReading(instance.info.uuid, used_bytes, instance.memory_bytes, gpm, gpm_supported=gpu.gpm)

    def _average(self, instance: Instance, now_us: int) -> GpmReading | None:
        """GPM's mean since the last question; None at the first one, and where no time has passed."""
        since_us = self._asked_at.get(instance.info.uuid, now_us)
        self._asked_at[instance.info.uuid] = now_us
        if since_us >= now_us:
            return None
        span_us = now_us - since_us
        ppm = (2 * instance.busy_integral(since_us, now_us) * _PPM_A_PERCENT + span_us) // (2 * span_us)
        return GpmReading(since_us, now_us, ppm)

    def _healthy(self, uuid: str, now_us: int) -> Gpu:
        gpu = self._gpus[uuid]
        fault = gpu.fault(now_us)
        if fault is FaultKind.LOST:
            raise DeviceUnavailable(f"{uuid} is lost, as the scenario says")
        if fault is FaultKind.SILENT:
            raise DeviceSilent(f"{uuid} gives no answer, as the scenario says")
        return gpu

    def _new_entries(self, gpu: Gpu, newest_us: int) -> tuple[BusySample, ...]:
        """The buffer's entries after the device's cursor, as far back as the buffer reaches."""
        oldest_us = newest_us - self._depth * self._period_us
        cursor_us = self._read_to.get(gpu.info.uuid, oldest_us)
        start_us = max(cursor_us, oldest_us) if cursor_us <= newest_us else oldest_us
        self._read_to[gpu.info.uuid] = newest_us
        return tuple(
            BusySample(end_us, _mean_percent(gpu.busy_integral(end_us - self._period_us, end_us), self._period_us))
            for end_us in range(start_us + self._period_us, newest_us + 1, self._period_us)
        )

    def _process_busy(self, gpu: Gpu, now_us: int) -> tuple[ProcessBusy, ...] | None:
        """Mean percent since the last query, of those above 0; None where no time has passed since then."""
        since_us = self._asked_at.get(gpu.info.uuid, now_us)
        self._asked_at[gpu.info.uuid] = now_us
        if since_us >= now_us:
            return None
        busy = (
            ProcessBusy(load.pid, _mean_percent(load.busy.integral(since_us, now_us), now_us - since_us))
            for load in gpu.workloads
        )
        return tuple(each for each in busy if each.percent)


class SimulatedProcesses:
    """The `Processes` of a scenario: what /proc would say of its workloads at the time that `wall_us` tells."""

    def __init__(self, scenario: Scenario, wall_us: Callable[[], int]) -> None:
        self._workloads = {load.pid: load for load in scenario.workloads}
        self._wall_us = wall_us

    def resolve(self, pid: int) -> Process | None:
        """The process with this pid now; None while none runs."""
        load = self._workloads.get(pid)
        return load.process(self._wall_us()) if load else None


def _present(gpu: Gpu, us: int) -> Iterator[GpuProcess]:
    """The process lists: of the GPU, or of each of its MIG devices."""
    kind = ProcessKind.MPS if gpu.mps else ProcessKind.COMPUTE
    for instance, loads in (("", gpu.workloads), *((each.info.uuid, each.workloads) for each in gpu.instances)):
        for load in loads:
            if load.present.at(us):
                yield GpuProcess(load.pid, kind, load.memory_bytes, instance=instance)


def vitals(percent: int) -> Vitals:
    """Of a GPU that is so busy: at rest it is cool and its clocks are low for that reason, at work they are high."""
    clock_mhz = _FAST_MHZ if percent else _SLOW_MHZ
    heat_c = (_WARM_C - _COOL_C) * percent // 100
    return Vitals(_COOL_C + heat_c, clock_mhz, _MEMORY_MHZ, 0 if percent else _GPU_IDLE)


def _mean_percent(integral: int, span_us: int) -> int:
    """The mean over a span, rounded half up to the whole percent that NVML gives."""
    return (2 * integral + span_us) // (2 * span_us)
