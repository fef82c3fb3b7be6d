"""NVML's return codes, and what each means to the sampler: one place that decides who stops for an error.

Codes are compared as numbers: pynvml's exceptions cannot be compared with None and cannot be hashed.
"""

from collections.abc import Sequence
from enum import IntEnum

from gputally.agent.probe.sampler import DeviceSilent, DeviceUnavailable, DriverError, DriverReplaced, DriverUnavailable


class Code(IntEnum):
    """NVML_ERROR_* of the published ABI, those that are treated apart. Every other one may pass by the next tick."""

    SUCCESS = 0
    UNINITIALIZED = 1
    INVALID_ARGUMENT = 2
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    NOT_FOUND = 6
    INSUFFICIENT_SIZE = 7
    INSUFFICIENT_POWER = 8
    DRIVER_NOT_LOADED = 9
    TIMEOUT = 10
    LIBRARY_NOT_FOUND = 12
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    RESET_REQUIRED = 16
    OPERATING_SYSTEM = 17
    LIB_RM_VERSION_MISMATCH = 18
    ARGUMENT_VERSION_MISMATCH = 25
    DEPRECATED = 26
    GPU_NOT_FOUND = 28
    UNKNOWN = 999


NOT_OF_THIS_DEVICE = frozenset(
    {Code.NOT_SUPPORTED, Code.FUNCTION_NOT_FOUND, Code.ARGUMENT_VERSION_MISMATCH, Code.DEPRECATED}
)
NOT_ALLOWED = frozenset({Code.NO_PERMISSION, Code.OPERATING_SYSTEM})
DEVICE_GONE = frozenset({Code.GPU_IS_LOST, Code.RESET_REQUIRED, Code.GPU_NOT_FOUND, Code.INSUFFICIENT_POWER})
DRIVER_GONE = frozenset({Code.UNINITIALIZED, Code.DRIVER_NOT_LOADED, Code.LIB_RM_VERSION_MISMATCH})

NO_GPU = "NVML answers but has no GPU: run the agent only on nodes with NVIDIA GPUs, or look for the GPU in `lspci`"
_WHAT_TO_DO = {
    Code.LIBRARY_NOT_FOUND: (
        "libnvidia-ml.so.1 not found: install the NVIDIA driver, or give this container the driver capability `utility`"
    ),
    Code.DRIVER_NOT_LOADED: "the NVIDIA kernel driver is not loaded: run `modprobe nvidia`, or look at dmesg",
    Code.NO_PERMISSION: "no permission to use NVML: run as root, or allow access to /dev/nvidia*",
    Code.OPERATING_SYSTEM: "the system blocks the GPUs: give this container /dev/nvidiactl and /dev/nvidia*",
}


def driver_error(code: int, words: str) -> DriverError:
    """Why the driver as a whole cannot be used; `words` are the driver's own."""
    if code in {Code.UNINITIALIZED, Code.LIB_RM_VERSION_MISMATCH}:
        return DriverReplaced(f"the driver was replaced under the probe ({words}); a new one is started")
    for known, what_to_do in _WHAT_TO_DO.items():
        if code == known:
            return DriverUnavailable(what_to_do)
    return DriverUnavailable(f"NVML does not answer: {words}; look at dmesg")


def no_device(refusals: Sequence[tuple[int, str]]) -> DriverUnavailable:
    """Why no device can be listed: the (code, words) that each index was refused with."""
    if not refusals:
        return DriverUnavailable(NO_GPU)
    if all(code in NOT_ALLOWED for code, _ in refusals):
        return DriverUnavailable("no permission to open any GPU: run as root, or allow access to /dev/nvidia*")
    reasons = ", ".join(sorted({words for _, words in refusals}))
    return DriverUnavailable(f"none of {len(refusals)} GPUs can be opened: {reasons}; look at dmesg")


def uncounted(refusals: Sequence[tuple[int, str]]) -> str:
    """One line on GPUs of which not even the UUID is known; empty when each could be opened."""
    failed = sorted({words for code, words in refusals if code != Code.NO_PERMISSION})
    denied = sum(code == Code.NO_PERMISSION for code, _ in refusals)
    lines = [f"{denied} GPUs may not be opened and are not counted: allow /dev/nvidia*"] if denied else []
    if failed:
        count = len(refusals) - denied
        lines.append(f"{count} GPUs cannot be opened and are not counted: {', '.join(failed)}; look at dmesg")
    return "; ".join(lines)


def device_error(code: int, words: str, call: str) -> DriverError:
    """Why one device gave no answer to a call."""
    if code in DRIVER_GONE:
        return DriverReplaced(f"the driver went away ({call}: {words}); a new probe is started")
    if code in DEVICE_GONE:
        return DeviceUnavailable(f"{call}: {words}")
    return DeviceSilent(f"{call}: {words}")
