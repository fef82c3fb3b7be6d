"""Temperature, clocks, and why the clocks are not higher: four cheap calls, made as rarely as process lists are read.

All of them are of the whole GPU: a MIG device has none of its own.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pynvml

from gputally.agent.nvml.handle import Handle
from gputally.agent.nvml.records import ONES_32, ONES_64, known
from gputally.agent.sample import Vitals

_TEMPERATURE = "nvmlDeviceGetTemperatureV"  # since R570
_TEMPERATURE_BEFORE = "nvmlDeviceGetTemperature"
_REASONS = "nvmlDeviceGetCurrentClocksEventReasons"  # since R535
_REASONS_BEFORE = "nvmlDeviceGetCurrentClocksThrottleReasons"
_CLOCK = "nvmlDeviceGetClockInfo"
_POSSIBLE_C = range(-60, 200)  # beyond what any board survives


def read_vitals(device: Handle, rejected: Counter[str]) -> Vitals:
    """What the device tells of itself; None for what it does not. Raises as `Handle.ask` does."""
    celsius = _newest(device, _TEMPERATURE, _temperature_v, _TEMPERATURE_BEFORE, _temperature)
    if celsius is not None and celsius not in _POSSIBLE_C:
        rejected["temperature-out-of-range"] += 1
        celsius = None
    event, throttle = pynvml.nvmlDeviceGetCurrentClocksEventReasons, pynvml.nvmlDeviceGetCurrentClocksThrottleReasons
    mask = _newest(device, _REASONS, event, _REASONS_BEFORE, throttle)
    return Vitals(
        celsius,
        _clock(device, "SM", pynvml.NVML_CLOCK_SM, rejected),
        _clock(device, "MEM", pynvml.NVML_CLOCK_MEM, rejected),
        known(mask, ONES_64, "clocks-event-reasons", rejected),
    )


def _newest(
    device: Handle, name: str, call: Callable[[Any], int], before: str, call_before: Callable[[Any], int]
) -> int | None:
    """By the newest function that the driver has: an older driver has only the one before."""
    value = device.ask(name, call)
    return device.ask(before, call_before) if value is None and device.lacks(name) else value


def _clock(device: Handle, name: str, kind: int, rejected: Counter[str]) -> int | None:
    mhz = device.ask(f"{_CLOCK}({name})", lambda raw: int(pynvml.nvmlDeviceGetClockInfo(raw, kind)))
    return known(mhz, ONES_32, "clock", rejected)


def _temperature_v(raw: Any) -> int:
    return int(pynvml.nvmlDeviceGetTemperatureV(raw, pynvml.NVML_TEMPERATURE_GPU))


def _temperature(raw: Any) -> int:
    return int(pynvml.nvmlDeviceGetTemperature(raw, pynvml.NVML_TEMPERATURE_GPU))
