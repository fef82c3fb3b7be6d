"""NVML through nvidia-ml-py: the `Driver` of real GPUs, and the only import of pynvml.

What a device can do is learned by asking it: a call that it refuses for good is left out until the next enumeration.
Arrays (sample buffer, process lists) are fetched by one call into one large buffer of our own: pynvml's wrappers ask
for the size first, which doubles the trips into the driver, and fail when the array grew meanwhile.

A tick costs five driver calls per GPU (samples, rates, memory, power, energy), a process reading four.
"""

import ctypes
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import pynvml

from gputally.accounting.states import Source
from gputally.agent.nvml_errors import (
    DEVICE_GONE,
    DRIVER_GONE,
    NO_GPU,
    NOT_ALLOWED,
    NOT_OF_THIS_DEVICE,
    Code,
    device_error,
    driver_error,
    no_device,
)
from gputally.agent.nvml_records import (
    AHEAD_US,
    ONES_32,
    ONES_64,
    PROCESS,
    PROCESS_BUSY,
    SAMPLE_BYTES,
    busy_samples,
    known,
    known_percent,
    merge_processes,
    process_busy,
    sample_entries,
    sysfs_bus_id,
)
from gputally.agent.sample import BusySample, DeviceInfo, ProcessBusy, ProcessKind, ProcessReading, Reading
from gputally.agent.sampler import DeviceSilent, DeviceUnavailable, DriverUnavailable

PROCESS_REACH_US = 1_000_000  # how far back the first query of processes averages: 0 would tell of finished work
BUFFER_REACH_US = 10_000_000  # a new probe may fill the gap that its predecessor left, as far as the driver kept it
ARRAY_BYTES = 64 * 1024  # 4096 buffer entries or 2730 processes; the driver's ring holds 72, its pid list 950
LARGEST_ARRAY_BYTES = 4 * 1024 * 1024
ATTEMPTS = 3

_SAMPLES = "nvmlDeviceGetSamples"
_PROCESS_UTILIZATION = "nvmlDeviceGetProcessUtilization"
_MEMORY_V2 = "nvmlDeviceGetMemoryInfo_v2"
_ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
_MIG_MODE = "nvmlDeviceGetMigMode"
_PROCESS_LISTS = (
    (ProcessKind.COMPUTE, "nvmlDeviceGetComputeRunningProcesses"),
    (ProcessKind.GRAPHICS, "nvmlDeviceGetGraphicsRunningProcesses"),
    (ProcessKind.MPS, "nvmlDeviceGetMPSComputeRunningProcesses"),
)
_PROCESS_LIST_VERSIONS = ("_v3", "_v2")  # same layout; the plain names of the oldest drivers have another one

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Nvml:
    """The `Driver` of this machine's GPUs. `wall_us` is the clock that the driver's time stamps are compared with."""

    def __init__(self, wall_us: Callable[[], int]) -> None:
        self._wall_us = wall_us
        self._devices: dict[str, _Device] = {}
        self._array = _Array()
        self._is_open = False
        self._denied = 0

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
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            _log.debug("nvmlShutdown: %s", error)  # the driver went first

    def devices(self) -> Sequence[DeviceInfo]:
        """All GPUs that can be opened, and those that could be once, by index."""
        self._forget_handles()
        refusals: list[tuple[int, str]] = []
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                self._meet(index, refusals)
        except pynvml.NVMLError as error:
            if error.value in DRIVER_GONE:
                raise device_error(error.value, str(error), "nvmlDeviceGetCount") from error
            raise driver_error(error.value, str(error)) from error
        if not self._devices:
            raise no_device(refusals)
        self._tell_denied(sum(code == Code.NO_PERMISSION for code, _ in refusals))
        return sorted((device.info for device in self._devices.values()), key=lambda info: (info.index, info.uuid))

    def read(self, uuid: str) -> Reading:
        """The cheap values now. A passing refusal to tell of activity is silence: the buffer still has it later."""
        device = self._open_device(uuid)
        rejected: Counter[str] = Counter()
        after_us = self._cursor(device.busy_read_to, BUFFER_REACH_US)
        busy = self._busy(device, after_us, rejected)
        percent = self._utilization(device, rejected, needed=device.lacks(_SAMPLES))
        used, total = self._memory(device, rejected)
        power = device.ask("nvmlDeviceGetPowerUsage", pynvml.nvmlDeviceGetPowerUsage)
        energy = device.ask(_ENERGY, pynvml.nvmlDeviceGetTotalEnergyConsumption)
        device.is_proven = True
        device.busy_read_to = busy[-1].end_us if busy else after_us  # not before: entries of a failed read come again
        return Reading(
            busy=busy,
            busy_source=_source(device, busy, percent),
            busy_since_us=after_us,
            utilization_percent=percent,
            memory_used_bytes=used,
            memory_total_bytes=total,
            power_mw=known(power, ONES_32, "power", rejected),
            energy_mj=known(energy, ONES_64, "energy", rejected),
            energy_supported=not device.lacks(_ENERGY),
            rejected=dict(rejected),
        )

    def read_processes(self, uuid: str) -> ProcessReading:
        """Who is on the device, and how busy each was since the query before."""
        device = self._open_device(uuid)
        rejected: Counter[str] = Counter()
        lists = self._process_lists(device)
        processes = None if lists is None else merge_processes(lists, rejected)
        since_us = self._wall_us() - PROCESS_REACH_US if device.process_read_to is None else None
        busy = self._process_busy(device, rejected)
        device.is_proven = True
        return ProcessReading(processes, busy, dict(rejected), since_us)

    def _forget_handles(self) -> None:
        for device in self._devices.values():
            device.forget()

    def _meet(self, index: int, refusals: list[tuple[int, str]]) -> None:
        """Learn of the device at an index. One that cannot be opened does not stop the others."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = pynvml.nvmlDeviceGetUUID(handle)
        except pynvml.NVMLError as error:
            if error.value in DRIVER_GONE:
                raise
            refusals.append((error.value, str(error)))
            return
        device = self._devices.setdefault(uuid, _Device(DeviceInfo(uuid, index, "")))
        device.take(handle)
        device.info = replace(device.info, index=index)
        try:
            device.info = _described(device)
        except (DeviceUnavailable, DeviceSilent) as error:
            _log.debug("%s: %s", uuid, error)  # what was known of it before stays; `read` says the same again

    def _tell_denied(self, denied: int) -> None:
        if denied and denied != self._denied:
            _log.warning("%d GPUs may not be opened by this process and are not counted: allow /dev/nvidia*", denied)
        self._denied = denied

    def _open_device(self, uuid: str) -> "_Device":
        device = self._devices[uuid]
        if device.handle is None:
            try:
                device.take(pynvml.nvmlDeviceGetHandleByUUID(uuid))
            except pynvml.NVMLError as error:
                if error.value == Code.NOT_FOUND:
                    raise DeviceUnavailable("the driver no longer has this GPU") from error
                raise device_error(error.value, str(error), "nvmlDeviceGetHandleByUUID") from error
        return device

    def _cursor(self, cursor_us: int | None, reach_us: int) -> int:
        """Where to read a buffer from. A clock that was set back leaves the cursor ahead of all that is written."""
        now_us = self._wall_us()
        if cursor_us is None or cursor_us > now_us + AHEAD_US:
            return now_us - reach_us
        return cursor_us

    def _busy(self, device: "_Device", after_us: int, rejected: Counter[str]) -> tuple[BusySample, ...] | None:
        """The buffer's new entries; () where it has none; None without a buffer, or if no entry had a credible time."""
        entries = device.ask(_SAMPLES, lambda handle: self._sample_entries(handle, after_us), needed=True)
        if entries is None:
            return None
        samples = busy_samples(entries, after_us, self._wall_us(), rejected)
        return None if not samples and rejected["utilization-time-ahead"] else samples

    def _sample_entries(self, handle: Any, after_us: int) -> list[tuple[int, int]]:
        call = _symbol(_SAMPLES)
        value_type = ctypes.c_uint()
        try:
            array = self._array.fill(
                SAMPLE_BYTES,
                lambda room, count: call(
                    handle,
                    ctypes.c_uint(pynvml.NVML_GPU_UTILIZATION_SAMPLES),
                    ctypes.c_ulonglong(after_us),
                    ctypes.byref(value_type),
                    count,
                    room,
                ),
            )
        except pynvml.NVMLError as error:
            if error.value == Code.NOT_FOUND:  # idle, or asked too soon
                return []
            raise
        return sample_entries(array, value_type.value)

    def _utilization(self, device: "_Device", rejected: Counter[str], *, needed: bool) -> int | None:
        rates = device.ask("nvmlDeviceGetUtilizationRates", pynvml.nvmlDeviceGetUtilizationRates, needed=needed)
        return None if rates is None else known_percent(rates.gpu, "utilization-rate", rejected)

    def _memory(self, device: "_Device", rejected: Counter[str]) -> tuple[int | None, int | None]:
        """(used, total) bytes. Where the driver has only version 1, used includes what the driver reserves."""
        memory = device.ask(_MEMORY_V2, _memory_v2)
        if memory is None and device.lacks(_MEMORY_V2):
            memory = device.ask("nvmlDeviceGetMemoryInfo", pynvml.nvmlDeviceGetMemoryInfo)
        if memory is None or memory.total == 0:  # 0: a GPU without memory of its own
            return None, None
        return known(memory.used, ONES_64, "memory", rejected), known(memory.total, ONES_64, "memory", rejected)

    def _process_lists(self, device: "_Device") -> list[tuple[ProcessKind, bytes]] | None:
        """Every list the device has; None where one of them, or the list of compute processes, could not be read."""
        lists = []
        for kind, name in _PROCESS_LISTS:
            array = device.ask(name, partial(self._process_list, name))
            if array is not None:
                lists.append((kind, array))
            elif kind is ProcessKind.COMPUTE or not device.lacks(name):
                return None
        return lists

    def _process_list(self, name: str, handle: Any) -> bytes:
        call = _symbol(*(name + version for version in _PROCESS_LIST_VERSIONS))
        return self._array.fill(PROCESS.size, lambda room, count: call(handle, count, room))

    def _process_busy(self, device: "_Device", rejected: Counter[str]) -> tuple[ProcessBusy, ...] | None:
        """The cursor moves on with the device's own buffer too: else the driver averages an idle time in again."""
        after_us = self._cursor(device.process_read_to, PROCESS_REACH_US)
        array = device.ask(_PROCESS_UTILIZATION, lambda handle: self._process_utilization(handle, after_us))
        if array is None:
            return None
        busy, newest_us = process_busy(array, after_us, self._wall_us(), rejected)
        device.process_read_to = max(newest_us, device.busy_read_to or newest_us)
        return busy

    def _process_utilization(self, handle: Any, after_us: int) -> bytes:
        call = _symbol(_PROCESS_UTILIZATION)
        since = ctypes.c_ulonglong(after_us)
        try:
            return self._array.fill(PROCESS_BUSY.size, lambda room, count: call(handle, room, count, since))
        except pynvml.NVMLError as error:
            if error.value == Code.NOT_FOUND:  # nobody computed
                return b""
            raise


@dataclass(slots=True)
class _Device:
    """What we keep of a device between ticks. `is_proven`: its handle has worked, and can only have gone stale."""

    info: DeviceInfo
    handle: Any = None
    is_proven: bool = False
    busy_read_to: int | None = None  # cursors: driver time stamps, microseconds since the epoch
    process_read_to: int | None = None
    _lacking: set[str] = field(default_factory=set)

    def take(self, handle: Any) -> None:
        self.handle = handle
        self.is_proven = False

    def forget(self) -> None:
        """Before an enumeration: another handle, and everything may be possible again."""
        self.handle = None
        self._lacking.clear()

    def lacks(self, name: str) -> bool:
        """Whether the device refused this call for good."""
        return name in self._lacking

    def ask(self, name: str, call: Callable[[Any], T], *, needed: bool = False) -> T | None:
        """The call's answer; None where there is none. `needed`: a refusal that may pass makes the device silent."""
        if name in self._lacking:
            return None
        try:
            return call(self.handle)
        except pynvml.NVMLError as error:
            self._refuse(name, error, needed)
            return None

    def _refuse(self, name: str, error: Any, needed: bool) -> None:
        code = error.value
        stale = code == Code.INVALID_ARGUMENT and self.is_proven
        if stale:
            self.handle = None  # after a reset: taken anew at the next tick
        if stale or code in DEVICE_GONE or code in DRIVER_GONE:
            raise device_error(error.value, str(error), name) from error
        if code in NOT_OF_THIS_DEVICE or code == Code.INVALID_ARGUMENT:
            self._lacking.add(name)
        elif needed and code not in NOT_ALLOWED:
            raise device_error(error.value, str(error), name) from error


class _Array:
    """The one buffer that NVML's arrays are fetched into; it grows when the driver says that it must."""

    def __init__(self) -> None:
        self._room = ctypes.create_string_buffer(ARRAY_BYTES)

    def fill(self, entry_bytes: int, call: Callable[[Any, Any], int]) -> bytes:
        """The entries that `call(array, pointer to count)` wrote; raises NVMLError, also if it never fits."""
        for _ in range(ATTEMPTS):
            count = ctypes.c_uint(len(self._room) // entry_bytes)
            code = call(self._room, ctypes.byref(count))
            if code == Code.SUCCESS:
                return ctypes.string_at(self._room, min(count.value * entry_bytes, len(self._room)))
            if code != Code.INSUFFICIENT_SIZE:
                raise pynvml.NVMLError(code)
            self._grow(2 * count.value * entry_bytes)  # twice: more may come before we ask again
        raise pynvml.NVMLError(Code.INSUFFICIENT_SIZE)

    def _grow(self, wanted: int) -> None:
        size = min(max(wanted, len(self._room)), LARGEST_ARRAY_BYTES)
        if size > len(self._room):
            self._room = ctypes.create_string_buffer(size)


def _symbol(*names: str) -> Callable[..., int]:
    """The first of these functions that the library has; raises NVMLError as pynvml does."""
    for name in names:
        try:
            return pynvml._nvmlGetFunctionPointer(name)  # type: ignore[no-any-return]  # pynvml's own cache of symbols
        except pynvml.NVMLError as error:
            if error.value != Code.FUNCTION_NOT_FOUND or name == names[-1]:
                raise
    raise ValueError("no name given")


def _memory_v2(handle: Any) -> Any:
    return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)


def _source(device: _Device, busy: tuple[BusySample, ...] | None, percent: int | None) -> Source:
    if busy is not None:
        return Source.DEVICE_SAMPLES
    return Source.DEVICE_RATE if device.lacks(_SAMPLES) and percent is not None else Source.NONE


def _described(device: _Device) -> DeviceInfo:
    """What the driver says of the device now; what it does not say this time stays as it was."""
    info = device.info
    minor = device.ask("nvmlDeviceGetMinorNumber", pynvml.nvmlDeviceGetMinorNumber)
    pci = device.ask("nvmlDeviceGetPciInfo_v3", pynvml.nvmlDeviceGetPciInfo)
    mig = device.ask(_MIG_MODE, pynvml.nvmlDeviceGetMigMode)
    return replace(
        info,
        model=device.ask("nvmlDeviceGetName", pynvml.nvmlDeviceGetName) or info.model,
        minor=info.minor if minor is None else minor,
        pci_bus_id=info.pci_bus_id if pci is None else sysfs_bus_id(_text(pci.busId)),
        mig_enabled=mig[0] == 1 if mig else info.mig_enabled and not device.lacks(_MIG_MODE),
    )


def _text(value: str | bytes) -> str:
    """pynvml gives a string inside a structure as bytes or as text, by version."""
    return value.decode() if isinstance(value, bytes) else value
