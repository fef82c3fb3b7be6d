"""NVML through nvidia-ml-py: the `Driver` of real GPUs. Only this and the modules named nvml_* import pynvml.

What a device can do is learned by asking it: a call that it refuses for good is left out until the next enumeration.

A tick costs five driver calls per GPU (samples, rates, memory, power, energy), GPM two every five seconds, a process
reading five, of which four are cheap (temperature, two clocks, why they are not higher), and up to three more where the
memory in use has changed (see `Roster`). A partitioned GPU has no samples, rates or process utilisation, and is not
asked for them; each of its MIG devices costs three calls per tick (memory, GPM) and one to four per process reading.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pynvml

from gputally.accounting.states import Source
from gputally.agent.nvml import mig as nvml_mig
from gputally.agent.nvml.device import Device
from gputally.agent.nvml.errors import DRIVER_GONE, NO_GPU, Code, device_error, driver_error, no_device, uncounted
from gputally.agent.nvml.events import Events
from gputally.agent.nvml.glance import Glances
from gputally.agent.nvml.gpm import SHORTEST_US, Gpm
from gputally.agent.nvml.handle import MEMORY_V2, Array, Handle, memory
from gputally.agent.nvml.latency import Latency
from gputally.agent.nvml.processes import process_utilization
from gputally.agent.nvml.records import (
    AHEAD_US,
    ONES_32,
    ONES_64,
    busy_samples,
    known,
    known_percent,
    process_busy,
)
from gputally.agent.nvml.values import Values
from gputally.agent.nvml.vitals import read_vitals
from gputally.agent.probe.glance import Answer
from gputally.agent.probe.sampler import DeviceSilent, DeviceUnavailable, DriverEvents, DriverUnavailable
from gputally.agent.sample import (
    BusySample,
    CallTimes,
    DeviceInfo,
    GpmReading,
    GpuProcess,
    InstanceReading,
    ProcessBusy,
    ProcessReading,
    Reading,
)

PROCESS_REACH_US = 1_000_000  # how far back the first query of processes averages: 0 would tell of finished work
BUFFER_REACH_US = 10_000_000  # a new probe may fill the gap that its predecessor left, as far as the driver kept it
QUALITY_EVERY_US = 4_500_000  # GPM of whole GPUs bills nothing: every five seconds, though a tick come early

_SAMPLES = "nvmlDeviceGetSamples"
_ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
_GPM = "nvmlGpmSampleGet"
_GPM_MIG = "nvmlGpmMigSampleGet"

_log = logging.getLogger(__name__)


class _Activity(NamedTuple):
    """What a `Reading` says of a GPU's activity; `since_us` is its `busy_since_us`."""

    busy: tuple[BusySample, ...] | None = None
    source: Source = Source.NONE
    percent: int | None = None
    since_us: int | None = None
    gpm: GpmReading | None = None


_NO_ACTIVITY = _Activity()


class Nvml:
    """The `Driver` of this machine's GPUs. `wall_us` is the clock that the driver's time stamps are compared with.

    `touch` is told the index of each GPU before a call for it, which may never return; False: leave that GPU out.
    """

    def __init__(self, wall_us: Callable[[], int], touch: Callable[[int], bool] = lambda _: True) -> None:
        self._wall_us = wall_us
        self._touch = touch
        self._devices: dict[str, Device] = {}
        self._array = Array()
        self._values = Values(self._array)
        self._gpm = Gpm()
        self._events = Events()
        self._latency = Latency()
        self._glances = Glances(self._latency, touch)
        self._is_open = False
        self._uncounted = ""

    def open(self) -> None:
        """Load and initialise; a driver without a GPU is refused as DriverUnavailable."""
        if self._is_open:
            return
        try:
            pynvml.nvmlInit()
            self._is_open = True
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.close()
            raise driver_error(error.value, str(error)) from error
        if count == 0:
            self.close()
            raise DriverUnavailable(NO_GPU)

    def close(self) -> None:
        """Let go of the driver; handles are forgotten, cursors kept."""
        self._forget_handles()
        if not self._is_open:
            return
        self._is_open = False
        self._gpm.close()
        self._events.close()
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            _log.debug("nvmlShutdown: %s", error)  # the driver went first

    def devices(self) -> Sequence[DeviceInfo]:
        """All GPUs that can be opened with the MIG devices on them, and those that could be once, by index."""
        self._forget_handles()
        refusals: list[tuple[int, str]] = []
        try:
            count = pynvml.nvmlDeviceGetCount()
            touched = sum(self._meet(index, refusals) for index in range(count))
        except pynvml.NVMLError as error:
            if error.value in DRIVER_GONE:
                raise device_error(error.value, str(error), "nvmlDeviceGetCount") from error
            raise driver_error(error.value, str(error)) from error
        if not self._devices and (touched or not count):
            raise no_device(refusals)
        self._uncounted = uncounted(refusals)
        raws = {uuid: device.raw for uuid, device in self._devices.items() if device.raw is not None}
        self._events.watch(raws, lambda uuid: self._touch(self._devices[uuid].info.index))
        self._gpm.retain({uuid for device in self._devices.values() for uuid in device.measured})
        return sorted((device.info for device in self._devices.values()), key=lambda info: (info.index, info.uuid))

    @property
    def problem(self) -> str:
        """GPUs that could not be opened since the probe began, which cannot be counted."""
        return self._uncounted

    def events(self) -> DriverEvents:
        """What the driver told since the last call, of the GPUs that were enumerated before."""
        return self._events.poll()

    def read(self, uuid: str) -> Reading:
        """The cheap values now. A passing refusal to tell of activity is silence: the buffer still has it later."""
        try:
            return self._reading(self._usable_device(uuid))
        except DeviceUnavailable:
            self._forget_counters(self._devices[uuid])
            raise

    def read_lightly(self, uuid: str) -> Reading:
        """As `read`, without activity where the driver keeps that in a buffer until it is asked."""
        device = self._devices[uuid]
        if device.busy_read_to is None or device.info.mig_enabled or device.lacks(_SAMPLES):
            return self.read(uuid)
        try:
            return self._reading(self._usable_device(uuid), _Activity(None, Source.DEVICE_SAMPLES, device.last_percent))
        except DeviceUnavailable:
            self._forget_counters(device)
            raise

    def glance(self, uuids: Sequence[str], now_us: int, *, light: bool) -> tuple[Answer, ...] | None:
        """The answers of GPUs that are all as they were, and of which GPM is not due."""
        devices = [self._devices[uuid] for uuid in uuids]
        if not light and any(self._awaits_gpm(device, now_us) for device in devices):
            return None
        return self._glances.take(devices, now_us, light=light)

    def read_processes(self, uuid: str) -> ProcessReading:
        """Who is on the device, and how busy each was since the query before."""
        device = self._usable_device(uuid)
        rejected: Counter[str] = Counter()
        if device.info.mig_enabled:
            found = self._instance_processes(device, rejected)
            vitals = read_vitals(device, rejected)
            return ProcessReading(found, None, dict(rejected), vitals=vitals)
        processes = device.roster.read(device, self._array, self._wall_us(), rejected)
        since_us = self._wall_us() - PROCESS_REACH_US if device.process_read_to is None else None
        busy = self._process_busy(device, rejected)
        if busy and device.roster.lacks(busy):
            device.roster.forget()
            processes = device.roster.read(device, self._array, self._wall_us(), rejected)
        vitals = read_vitals(device, rejected)
        device.is_proven = True
        return ProcessReading(processes, busy, dict(rejected), since_us, vitals)

    def call_times(self) -> tuple[CallTimes, ...]:
        """How long the calls took since this was asked before."""
        return self._latency.take()

    def _forget_handles(self) -> None:
        for device in self._devices.values():
            device.forget()

    def _meet(self, index: int, refusals: list[tuple[int, str]]) -> bool:
        """Learn of the device at an index, if it may be touched. One that cannot be opened does not stop the others."""
        if not self._touch(index):
            return False
        try:
            raw = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = pynvml.nvmlDeviceGetUUID(raw)
        except pynvml.NVMLError as error:
            if error.value in DRIVER_GONE:
                raise
            if all(device.info.index != index for device in self._devices.values()):  # else `read` says why
                refusals.append((error.value, str(error)))
            return True
        device = self._devices.setdefault(uuid, Device(info=DeviceInfo(uuid, index, ""), latency=self._latency))
        device.take(raw)
        device.info = replace(device.info, index=index)
        try:
            device.describe()
        except (DeviceUnavailable, DeviceSilent) as error:
            _log.debug("%s: %s", uuid, error)  # what was known of it before stays; `read` says the same again
        return True

    def _forget_counters(self, device: Device) -> None:
        """A GPU that was lost or reset begins its counters again."""
        device.roster.forget()
        for uuid in device.measured:
            self._gpm.forget(uuid)

    def _usable_device(self, uuid: str) -> Device:
        device = self._devices[uuid]
        self._touch(device.info.index)
        if device.raw is None:
            self._forget_counters(device)
            try:
                device.take(pynvml.nvmlDeviceGetHandleByUUID(uuid))
            except pynvml.NVMLError as error:
                if error.value == Code.NOT_FOUND:
                    raise DeviceUnavailable("the driver no longer has this GPU") from error
                raise device_error(error.value, str(error), "nvmlDeviceGetHandleByUUID") from error
        device.check_recovery()
        if device.info.mig_enabled and device.instances is None:
            raise DeviceSilent("its MIG devices could not be listed: is the agent allowed to monitor MIG?")
        return device

    def _reading(self, device: Device, activity: _Activity | None = None) -> Reading:
        rejected: Counter[str] = Counter()
        is_parted, values, now_us = device.info.mig_enabled, self._values, self._wall_us()
        if activity is None:
            activity = _NO_ACTIVITY if is_parted else self._activity(device, now_us, rejected)
        parts = (device.instances or ()) if is_parted else ()
        instances = tuple(self._instance(device, each, now_us, rejected) for each in parts)
        used, total = memory(device, values.memory, rejected)
        device.roster.note(used)
        # A partitioned device has no other call by which it must prove that it is alive.
        power = device.ask("nvmlDeviceGetPowerUsage", values.power_mw, needed=is_parted)
        energy = device.ask(_ENERGY, values.energy_mj)
        device.is_proven = True
        if activity.since_us is not None:  # not before: entries of a read that fails come again
            device.busy_read_to = activity.busy[-1].end_us if activity.busy else activity.since_us
        reading = Reading(
            activity.busy,
            activity.source,
            activity.percent,
            used,
            total,
            known(power, ONES_32, "power", rejected),
            known(energy, ONES_64, "energy", rejected),
            not device.lacks(_ENERGY),
            dict(rejected),
            activity.since_us,
            activity.gpm,
            instances,
        )
        if reading.busy is not None:  # else it was read lightly
            device.is_plain = _is_plain(reading) and not device.lacks(MEMORY_V2)
        return reading

    def _activity(self, device: Device, now_us: int, rejected: Counter[str]) -> _Activity:
        """Activity of a GPU that is not partitioned. A partitioned one has none but that of its MIG devices."""
        after_us = self._cursor(device.busy_read_to, BUFFER_REACH_US)
        busy = self._busy(device, after_us, rejected)
        rate = device.ask("nvmlDeviceGetUtilizationRates", self._values.busy_percent, needed=device.lacks(_SAMPLES))
        percent = device.last_percent = known_percent(rate, "utilization-rate", rejected)
        gpm = None
        if device.has_gpm:
            take = pynvml.nvmlGpmSampleGet
            gpm = self._counters(device, device.info.uuid, _GPM, now_us, QUALITY_EVERY_US, take, rejected)
        return _Activity(busy, _source(device, busy, percent), percent, after_us, gpm)

    def _instance(
        self, device: Device, instance: nvml_mig.Instance, now_us: int, rejected: Counter[str]
    ) -> InstanceReading:
        """Counters are those of the GPU instance: where several MIG devices share it, they tell of none of them."""
        used, total = memory(instance, self._values.memory, rejected)
        instance.roster.note(used)
        uuid, gpm = instance.info.uuid, None
        if device.has_gpm and instance.alone:
            take = partial(_take_of_instance, device, instance.info.gpu_instance)
            gpm = self._counters(instance, uuid, _GPM_MIG, now_us, SHORTEST_US, take, rejected)
        has_gpm = device.has_gpm and instance.alone and not (instance.lacks(_GPM_MIG) or instance.denies(_GPM_MIG))
        instance.is_proven = True
        return InstanceReading(uuid, used, total, gpm, has_gpm)

    def _awaits_gpm(self, device: Device, now_us: int) -> bool:
        if not device.has_gpm or device.lacks(_GPM) or device.denies(_GPM):
            return False
        return self._gpm.is_due(device.info.uuid, now_us, QUALITY_EVERY_US)

    def _counters(
        self,
        handle: Handle,
        uuid: str,
        name: str,
        now_us: int,
        every_us: int,
        take: Callable[[Any, Any], object],
        rejected: Counter[str],
    ) -> GpmReading | None:
        """GPM's averages; `take(handle, sample)` writes the counters into a sample."""
        return handle.ask(name, lambda raw: self._gpm.read(uuid, now_us, every_us, partial(take, raw), rejected))

    def _instance_processes(self, device: Device, rejected: Counter[str]) -> tuple[GpuProcess, ...] | None:
        """The processes on all MIG devices; None where the lists of one of them could not be read."""
        found: list[GpuProcess] = []
        for instance in device.instances or ():
            if not nvml_mig.is_still(instance):
                device.instances = None
                raise DeviceSilent("its MIG devices have changed")
            listed = instance.roster.read(instance, self._array, self._wall_us(), rejected, instance.info.uuid)
            if listed is None:
                return None
            found += listed
        return tuple(found)

    def _cursor(self, cursor_us: int | None, reach_us: int) -> int:
        """Where to read a buffer from. A clock that was set back leaves the cursor ahead of all that is written."""
        now_us = self._wall_us()
        if cursor_us is None or cursor_us > now_us + AHEAD_US:
            return now_us - reach_us
        return cursor_us

    def _busy(self, device: Device, after_us: int, rejected: Counter[str]) -> tuple[BusySample, ...] | None:
        """The buffer's new entries; () where it has none; None without a buffer, or if no entry had a credible time."""
        entries = device.ask(_SAMPLES, lambda raw: self._values.busy_entries(raw, after_us), needed=True)
        if entries is None:
            return None
        samples = busy_samples(entries, after_us, self._wall_us(), rejected)
        return None if not samples and rejected["utilization-time-ahead"] else samples

    def _process_busy(self, device: Device, rejected: Counter[str]) -> tuple[ProcessBusy, ...] | None:
        """The cursor moves on with the device's own buffer too: else the driver averages an idle time in again."""
        after_us = self._cursor(device.process_read_to, PROCESS_REACH_US)
        array = process_utilization(device, self._array, after_us)
        if array is None:
            return None
        busy, newest_us = process_busy(array, after_us, self._wall_us(), rejected)
        device.process_read_to = max(newest_us, device.busy_read_to or newest_us)
        return busy


def _is_plain(reading: Reading) -> bool:
    """Whether a glance would have told the same. Of a GPU without a buffer of its own it would not."""
    told = (reading.busy_since_us, reading.utilization_percent, reading.memory_used_bytes, reading.memory_total_bytes)
    figures = (*told, reading.power_mw, reading.energy_mj)
    return reading.busy_source is Source.DEVICE_SAMPLES and None not in figures and not reading.rejected


def _source(device: Device, busy: tuple[BusySample, ...] | None, percent: int | None) -> Source:
    if busy is not None:
        return Source.DEVICE_SAMPLES
    return Source.DEVICE_RATE if device.lacks(_SAMPLES) and percent is not None else Source.NONE


def _take_of_instance(device: Device, gpu_instance: int, _raw: Any, sample: Any) -> None:
    """By the GPU and the instance's number: newer in the ABI than by the MIG handle, but it cannot be a reused one."""
    pynvml.nvmlGpmMigSampleGet(device.raw, gpu_instance, sample)
