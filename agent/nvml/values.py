"""The calls of each tick, by pynvml's functions into structures that are kept: its wrappers make new ones each time.

One thread calls them. Each takes a raw handle, returns plain numbers, and raises NVMLError as pynvml does.
"""

import ctypes
from collections.abc import Callable
from struct import Struct
from typing import Any

import pynvml

from gputally.agent.nvml.handle import Array, symbol
from gputally.agent.nvml.records import SAMPLE_BYTES, sample_entries

_RATES = Struct("=II")  # nvmlUtilization_t: gpu, memory
_MEMORY = Struct("=I4xQQQQ")  # nvmlMemory_v2_t: version, total, reserved, free, used
_NOT_FOUND = 6  # of a buffer without new entries: the device is idle, or was asked too soon


class Values:
    """What is read of every device at every tick."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self._u32, self._u64, self._since = ctypes.c_uint(), ctypes.c_ulonglong(), ctypes.c_ulonglong()
        self._value_type = ctypes.c_uint()
        self._kind = ctypes.c_uint(pynvml.NVML_GPU_UTILIZATION_SAMPLES)
        self._rates = ctypes.create_string_buffer(_RATES.size)
        self._memory = ctypes.create_string_buffer(_MEMORY.size)
        _MEMORY.pack_into(self._memory, 0, pynvml.nvmlMemory_v2, 0, 0, 0, 0)
        self._functions: dict[str, Callable[..., int]] = {}

    def power_mw(self, raw: Any) -> int:
        """nvmlDeviceGetPowerUsage."""
        self._call("nvmlDeviceGetPowerUsage", raw, self._u32)
        return self._u32.value

    def energy_mj(self, raw: Any) -> int:
        """nvmlDeviceGetTotalEnergyConsumption."""
        self._call("nvmlDeviceGetTotalEnergyConsumption", raw, self._u64)
        return self._u64.value

    def busy_percent(self, raw: Any) -> int:
        """The GPU's part of nvmlDeviceGetUtilizationRates."""
        self._call("nvmlDeviceGetUtilizationRates", raw, self._rates)
        gpu: int = _RATES.unpack(self._rates)[0]
        return gpu

    def memory(self, raw: Any) -> tuple[int, int]:
        """(used, total) bytes by nvmlDeviceGetMemoryInfo_v2."""
        self._call("nvmlDeviceGetMemoryInfo_v2", raw, self._memory)
        _, total, _, _, used = _MEMORY.unpack(self._memory)
        return used, total

    def busy_entries(self, raw: Any, after_us: int) -> list[tuple[int, int]]:
        """(time stamp, value) of the new entries of nvmlDeviceGetSamples' buffer of utilisation."""
        call, kind, since = self._function("nvmlDeviceGetSamples"), self._kind, self._since
        value_type = ctypes.byref(self._value_type)
        since.value = after_us
        try:
            array = self._array.fill(SAMPLE_BYTES, lambda room, count: call(raw, kind, since, value_type, count, room))
        except pynvml.NVMLError as error:
            if error.value == _NOT_FOUND:
                return []
            raise
        return sample_entries(array, self._value_type.value)

    def _call(self, name: str, raw: Any, answer: Any) -> None:
        code = self._function(name)(raw, ctypes.byref(answer))
        if code:
            raise pynvml.NVMLError(code)

    def _function(self, name: str) -> Callable[..., int]:
        found = self._functions.get(name)
        if found is None:
            found = self._functions[name] = symbol(name)
        return found
