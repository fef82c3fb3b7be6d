"""NVML's process lists and process utilisation: the costly calls, which take the driver's exclusive locks."""

import ctypes
from functools import partial
from typing import Any

import pynvml

from gputally.agent.nvml.errors import Code
from gputally.agent.nvml.handle import Array, Handle, symbol
from gputally.agent.nvml.records import PROCESS, PROCESS_BUSY
from gputally.agent.sample import ProcessKind

_UTILIZATION = "nvmlDeviceGetProcessUtilization"
_LISTS = (
    (ProcessKind.COMPUTE, "nvmlDeviceGetComputeRunningProcesses"),
    (ProcessKind.GRAPHICS, "nvmlDeviceGetGraphicsRunningProcesses"),
    (ProcessKind.MPS, "nvmlDeviceGetMPSComputeRunningProcesses"),
)
_LIST_VERSIONS = ("_v3", "_v2")  # same layout; the plain names of the oldest drivers have another one


def process_lists(handle: Handle, array: Array) -> list[tuple[ProcessKind, bytes]] | None:
    """Every list the device has; None where one of them, or the list of compute processes, could not be read."""
    lists = []
    for kind, name in _LISTS:
        entries = handle.ask(name, partial(_list, array, name))
        if entries is not None:
            lists.append((kind, entries))
        elif kind is ProcessKind.COMPUTE or not handle.lacks(name):
            return None
    return lists


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
