"""A GPU or MIG device as NVML knows it: what it refused for good is not asked again, a refusal is mapped to our errors.

Arrays (sample buffer, process lists) are fetched by one call into one large buffer of our own: pynvml's wrappers ask
for the size first, which doubles the trips into the driver, and fail when the array grew meanwhile.
"""

import ctypes
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import pynvml

from gputally.agent.nvml.errors import DEVICE_GONE, DRIVER_GONE, NOT_ALLOWED, NOT_OF_THIS_DEVICE, Code, device_error
from gputally.agent.nvml.latency import Latency
from gputally.agent.nvml.records import ONES_64, known

ARRAY_BYTES = 64 * 1024  # 4096 buffer entries or 2730 processes; the driver's ring holds 72, its pid list 950
LARGEST_ARRAY_BYTES = 4 * 1024 * 1024
ATTEMPTS = 3
MEMORY_V2 = "nvmlDeviceGetMemoryInfo_v2"

T = TypeVar("T")


@dataclass(slots=True)
class Handle:
    """NVML's `raw` handle. `is_proven`: it has worked, and can only have gone stale."""

    STALE: ClassVar[frozenset[int]] = frozenset({Code.INVALID_ARGUMENT})  # what a proven handle fails with for good

    raw: Any = None
    is_proven: bool = False
    latency: Latency = field(default_factory=Latency)
    _lacking: set[str] = field(default_factory=set)
    _denied: set[str] = field(default_factory=set)

    def take(self, raw: Any) -> None:
        """Go on with another handle of the same device."""
        self.raw = raw
        self.is_proven = False

    def forget(self) -> None:
        """Before an enumeration: another handle, and everything may be possible again."""
        self.raw = None
        self._lacking.clear()
        self._denied.clear()

    def lacks(self, name: str) -> bool:
        """Whether the device refused this call for good."""
        return name in self._lacking

    def denies(self, name: str) -> bool:
        """Whether this process was not allowed to make this call."""
        return name in self._denied

    def ask(self, name: str, call: Callable[[Any], T], *, needed: bool = False) -> T | None:
        """The call's answer; None where there is none. `needed`: a refusal that may pass makes the device silent."""
        if name in self._lacking:
            return None
        latency = self.latency
        began_ns = latency.clock_ns()
        try:
            return call(self.raw)
        except pynvml.NVMLError as error:
            self._refuse(name, error, needed)
            return None
        finally:
            latency.add(name, began_ns)

    def _refuse(self, name: str, error: Any, needed: bool) -> None:
        code = error.value
        stale = code in self.STALE and self.is_proven
        if stale:
            self.raw = None  # after a reset: taken anew at the next tick
        if stale or code in DEVICE_GONE or code in DRIVER_GONE:
            raise device_error(error.value, str(error), name) from error
        if code in NOT_OF_THIS_DEVICE or code == Code.INVALID_ARGUMENT:
            self._lacking.add(name)
        elif code in NOT_ALLOWED:
            self._denied.add(name)
        elif needed:
            raise device_error(error.value, str(error), name) from error


class Array:
    """The one buffer that NVML's arrays are fetched into; it grows when the driver says that it must."""

    def __init__(self) -> None:
        self._room = ctypes.create_string_buffer(ARRAY_BYTES)

    def fill(self, entry_bytes: int, call: Callable[[Any, Any], int]) -> bytes:
        """The entries that `call(array, pointer to count)` wrote; raises NVMLError, also if it never fits."""
        for _ in range(ATTEMPTS):
            room = len(self._room) // entry_bytes
            count = ctypes.c_uint(room)
            code = call(self._room, ctypes.byref(count))
            if code == Code.SUCCESS:
                return ctypes.string_at(self._room, min(count.value, room) * entry_bytes)
            if code != Code.INSUFFICIENT_SIZE:
                raise pynvml.NVMLError(code)
            self._grow(2 * count.value * entry_bytes)  # twice: more may come before we ask again
        raise pynvml.NVMLError(Code.INSUFFICIENT_SIZE)

    def _grow(self, wanted: int) -> None:
        size = min(max(wanted, len(self._room)), LARGEST_ARRAY_BYTES)
        if size > len(self._room):
            self._room = ctypes.create_string_buffer(size)


def symbol(*names: str) -> Callable[..., int]:
    """The first of these functions that the library has; raises NVMLError as pynvml does."""
    for name in names:
        try:
            return pynvml._nvmlGetFunctionPointer(name)  # type: ignore[no-any-return]  # pynvml's own cache of symbols
        except pynvml.NVMLError as error:
            if error.value != Code.FUNCTION_NOT_FOUND or name == names[-1]:
                raise
    raise ValueError("no name given")


def memory(
    handle: Handle, by_version_2: Callable[[Any], tuple[int, int]], rejected: Counter[str]
) -> tuple[int | None, int | None]:
    """(used, total) bytes. Where the driver has only version 1, used includes what the driver reserves."""
    found = handle.ask(MEMORY_V2, by_version_2)
    if found is None and handle.lacks(MEMORY_V2):
        found = handle.ask("nvmlDeviceGetMemoryInfo", _memory_v1)
    if found is None or found[1] == 0:  # 0: a GPU without memory of its own
        return None, None
    return known(found[0], ONES_64, "memory", rejected), known(found[1], ONES_64, "memory", rejected)


def text(value: str | bytes) -> str:
    """pynvml gives a string inside a structure as bytes or as text, by version."""
    return value.decode() if isinstance(value, bytes) else value


def _memory_v1(raw: Any) -> tuple[int, int]:
    found = pynvml.nvmlDeviceGetMemoryInfo(raw)
    return found.used, found.total
