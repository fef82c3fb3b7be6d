"""The calls of a tick over GPUs that are as they were: five each, into one block of memory, without looking twice.

Whatever is not as expected ends the glance: the calls are then made again one by one, by code that knows what each
refusal means. Nothing has moved on by then, so no entry of a buffer is lost.
"""

import ctypes
from collections.abc import Callable, Sequence
from struct import Struct

import pynvml

from gputally.agent.nvml.device import Device
from gputally.agent.nvml.handle import symbol
from gputally.agent.nvml.latency import Latency
from gputally.agent.nvml.records import AHEAD_US, ONES_32, ONES_64, SAMPLE_BYTES
from gputally.agent.probe.glance import Answer

_NAMES = (
    "nvmlDeviceGetSamples",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTotalEnergyConsumption",
)
_BLOCK = Struct("=IIIxxxxQQQQIxxxxQ")  # utilisation of GPU and memory; nvmlMemory_v2_t; power; energy
_RATES_AT, _MEMORY_AT, _POWER_AT, _ENERGY_AT = 0, 8, 48, 56
_MOST_ENTRIES = 256  # the driver's ring holds 72
_STAMP = Struct("=Q8x")
_SUCCESS, _NOT_FOUND = 0, 6  # the latter of a buffer without new entries


class Glances:
    """Makes the calls. `touch` is told the index of each GPU before it is asked."""

    def __init__(self, latency: Latency, touch: Callable[[int], object]) -> None:
        self._latency = latency
        self._touch = touch
        block = self._block = ctypes.create_string_buffer(_BLOCK.size)
        _BLOCK.pack_into(block, 0, 0, 0, pynvml.nvmlMemory_v2, 0, 0, 0, 0, 0, 0)
        self._places = [ctypes.byref(block, at) for at in (_RATES_AT, _MEMORY_AT, _POWER_AT, _ENERGY_AT)]
        self._room = ctypes.create_string_buffer(_MOST_ENTRIES * SAMPLE_BYTES)
        self._kind = ctypes.c_uint(pynvml.NVML_GPU_UTILIZATION_SAMPLES)
        self._since, self._type, self._count = ctypes.c_ulonglong(), ctypes.c_uint(), ctypes.c_uint()
        self._functions: list[Callable[..., int]] = []
        self._end_us = 0  # of the buffer that was read last: the stamp of its newest entry

    def take(self, devices: Sequence[Device], now_us: int, *, light: bool) -> tuple[Answer, ...] | None:
        """The answers of all these devices; None where one of them is not as it was. `now_us` by the wall clock.

        `light`: their buffers are not asked, nor how busy they are.
        """
        if not all(_is_as_it_was(device, now_us) for device in devices):
            return None
        if not self._functions:
            self._functions = [symbol(name) for name in _NAMES]
        answers, ends_us = [], []
        for device in devices:
            self._touch(device.info.index)
            self._end_us = device.busy_read_to or 0
            answer = self._answer(device, now_us, light=light)
            if answer is None:
                device.is_plain = False
                return None
            answers.append(answer)
            ends_us.append(self._end_us)
        for device, answer, end_us in zip(devices, answers, ends_us, strict=True):
            device.busy_read_to, device.last_percent = end_us, answer[3]
            device.roster.note(answer[4])
        return tuple(answers)

    def _answer(self, device: Device, now_us: int, *, light: bool) -> Answer | None:
        raw, clock_ns = device.raw, self._latency.clock_ns
        samples, rates, memory, power, energy = self._functions
        to_rates, to_memory, to_power, to_energy = self._places
        after_us, entries, code = device.busy_read_to or 0, None, 0
        times = [clock_ns()]
        if not light:
            entries = self._entries(samples, raw, after_us, now_us)
            times.append(clock_ns())
            code = _SUCCESS if entries is not None else 1
            code |= rates(raw, to_rates)
            times.append(clock_ns())
        code |= memory(raw, to_memory)
        times.append(clock_ns())
        code |= power(raw, to_power)
        times.append(clock_ns())
        code |= energy(raw, to_energy)
        times.append(clock_ns())
        self._latency.add_all(_NAMES[2:] if light else _NAMES, times)
        percent, _, _, total, _, _, used, power_mw, energy_mj = _BLOCK.unpack(self._block)
        if light:
            percent = device.last_percent
        is_odd = percent > 100 or total == 0 or power_mw == ONES_32 or ONES_64 in (total, used, energy_mj)
        if code != _SUCCESS or is_odd:
            return None
        return (after_us, self._type.value, entries, percent, used, total, power_mw, energy_mj)

    def _entries(self, samples: Callable[..., int], raw: object, after_us: int, now_us: int) -> bytes | None:
        """The buffer's new entries; None where they were refused, or a clock is not as it was."""
        self._since.value, self._count.value = after_us, _MOST_ENTRIES
        type_, count = ctypes.byref(self._type), ctypes.byref(self._count)
        code = samples(raw, self._kind, self._since, type_, count, self._room)
        if code == _NOT_FOUND:
            return b""
        if code != _SUCCESS or self._count.value > _MOST_ENTRIES:
            return None
        found = ctypes.string_at(self._room, self._count.value * SAMPLE_BYTES)
        self._end_us = max([after_us, *(stamp for (stamp,) in _STAMP.iter_unpack(found))])
        return found if self._end_us <= now_us + AHEAD_US else None


def _is_as_it_was(device: Device, now_us: int) -> bool:
    """Not where the clock was set back: the cursor is then ahead of all that is written, which looks like idleness."""
    return device.is_plain and device.raw is not None and (device.busy_read_to or 0) <= now_us + AHEAD_US
