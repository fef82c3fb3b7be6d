"""NVML's process lists and process utilisation: the costly calls, which take the driver's exclusive locks.

Lists are read when something tells that they have changed. Whoever begins or ends to use a GPU changes the memory that
is in use on it, which is read at every tick, so while that stays the same the last lists are still true.
"""

import ctypes
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pynvml

from gputally.agent.nvml.errors import Code
from gputally.agent.nvml.handle import Array, Handle, symbol
from gputally.agent.nvml.records import PROCESS, PROCESS_BUSY, memory_of, merge_processes, pids_of
from gputally.agent.sample import GpuProcess, ProcessBusy, ProcessKind

ALL_LISTS_US = 30_000_000  # all are read at least so often, for what no memory tells
_UTILIZATION = "nvmlDeviceGetProcessUtilization"
_COMPUTE = "nvmlDeviceGetComputeRunningProcesses"
_OTHERS = (
    (ProcessKind.GRAPHICS, "nvmlDeviceGetGraphicsRunningProcesses"),
    (ProcessKind.MPS, "nvmlDeviceGetMPSComputeRunningProcesses"),
)
_LIST_VERSIONS = ("_v3", "_v2")  # same layout; the plain names of the oldest drivers have another one


@dataclass(slots=True)
class Roster:
    """The process lists of one device as last read. None of them is known while `all_read_us` is None.

    Few processes are on the other lists than that of compute processes, and theirs are on both as a rule. So those are
    read when somebody was on them, when the compute processes are others or there is other memory in use beside theirs
    (`beside_bytes`, as last read), and now and then.
    """

    used_bytes: int | None = None
    beside_bytes: int | None = None
    changed: bool = True  # since the lists were read
    all_read_us: int | None = None
    arrays: dict[ProcessKind, bytes] = field(default_factory=dict)
    processes: tuple[GpuProcess, ...] | None = None

    def note(self, used_bytes: int | None) -> None:
        """The memory in use now; where that is not known the lists may change at any time."""
        self.changed |= used_bytes is None or used_bytes != self.used_bytes
        self.used_bytes = used_bytes

    def forget(self) -> None:
        """Nothing of it is to be believed any more."""
        self.all_read_us = None
        self.changed = True

    def lacks(self, busy: Iterable[ProcessBusy]) -> bool:
        """Whether the driver knows of a process's work that is on no list as last read."""
        listed = {process.pid for process in self.processes or ()}
        return self.processes is not None and any(each.pid not in listed for each in busy)

    def read(
        self, handle: Handle, array: Array, now_us: int, rejected: Counter[str], instance: str = ""
    ) -> tuple[GpuProcess, ...] | None:
        """Who is on the device; None where one of the lists, or that of compute processes, could not be read.

        `now_us` by the wall clock; `instance` is the UUID of the MIG device that it is.
        """
        since_us = None if self.all_read_us is None else now_us - self.all_read_us
        is_old = since_us is None or not 0 <= since_us < ALL_LISTS_US
        if not (is_old or self.changed):
            return self.processes
        if not (self._read_compute(handle, array, is_old) and self._read_others(handle, array, now_us)):
            self.forget()
            return None
        found = merge_processes(self.arrays.items(), rejected, instance)
        self.changed = any(process.memory_bytes is None for process in found)  # whose memory no total may show
        self.processes = found
        return found

    def _read_compute(self, handle: Handle, array: Array, is_old: bool) -> bool:
        entries = handle.ask(_COMPUTE, partial(_list, array, _COMPUTE))
        if entries is None:
            return False
        beside_bytes = None if self.used_bytes is None else self.used_bytes - memory_of(entries)
        is_same = not is_old and pids_of(entries) == pids_of(self.arrays[ProcessKind.COMPUTE])
        if not is_same or beside_bytes != self.beside_bytes:
            self.all_read_us = None
        self.arrays[ProcessKind.COMPUTE], self.beside_bytes = entries, beside_bytes
        return True

    def _read_others(self, handle: Handle, array: Array, now_us: int) -> bool:
        """A device may lack these lists."""
        for kind, name in _OTHERS:
            if self.all_read_us is None or self.arrays.get(kind):
                entries = handle.ask(name, partial(_list, array, name))
                if entries is None and not handle.lacks(name):
                    return False
                self.arrays[kind] = entries or b""
        self.all_read_us = self.all_read_us or now_us
        return True


def process_utilization(handle: Handle, array: Array, after_us: int) -> bytes | None:
    """The records of those that computed since a driver time stamp; None where the driver cannot tell."""
    return handle.ask(_UTILIZATION, partial(_utilization, array, after_us))


def _list(array: Array, name: str, raw: Any) -> bytes:
    call = symbol(*(name + version for version in _LIST_VERSIONS))
    return array.fill(PROCESS.size, lambda room, count: call(raw, count, room))


def _utilization(array: Array, after_us: int, raw: Any) -> bytes:
    call = symbol(_UTILIZATION)
    since = ctypes.c_ulonglong(after_us)
    try:
        return array.fill(PROCESS_BUSY.size, lambda room, count: call(raw, room, count, since))
    except pynvml.NVMLError as error:
        if error.value == Code.NOT_FOUND:  # nobody computed
            return b""
        raise
