"""NVML's events: Xids, partitions made or destroyed, GPUs to be reset. Asked once per tick for all, without waiting."""

import ctypes
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import pynvml

from gputally.agent.nvml.errors import DRIVER_GONE, Code, device_error
from gputally.agent.nvml.handle import symbol
from gputally.agent.probe.sampler import DriverEvents

MOST_PER_TICK = 256  # a GPU that floods us must not keep the others from being read; the rest comes at the next tick
_XID = pynvml.nvmlEventTypeXidCriticalError
_CHANGES = (  # the last two since R565; before, a changed recovery action is Xid 154
    pynvml.nvmlEventMigConfigChange | pynvml.nvmlEventTypeGpuUnavailableError | pynvml.nvmlEventTypeGpuRecoveryAction
)
_XID_RECOVERY_ACTION = 154
_SILENCE = DriverEvents()

_log = logging.getLogger(__name__)


class Events:
    """One event set for the GPUs; MIG devices cannot be registered, their events come with their GPU."""

    def __init__(self) -> None:
        self._set: Any = None
        self._event = pynvml.c_nvmlEventData_t()
        self._place = ctypes.byref(self._event)
        self._wait: Callable[..., int] | None = None
        self._uuids: dict[int, str] = {}  # by the address of the handle that was registered
        self._refused: set[str] = set()  # GPUs whose registration spoils the set

    def watch(self, raws: Mapping[str, Any], touch: Callable[[str], object]) -> None:
        """Hear of these GPUs from now on. One without events is heard of as far as calls to it fail.

        `touch` is told the UUID before a GPU is registered: a call for it may never return.
        """
        for uuid, raw in raws.items():
            if uuid in self._refused or self._uuids.get(_address(raw)) == uuid:
                continue
            touch(uuid)
            if not self._register(uuid, raw):
                self._refused.add(uuid)
                self._free()
                self.watch(raws, touch)
                return

    def poll(self) -> DriverEvents:
        """What happened since the last poll; raises DriverReplaced."""
        told = list(islice(iter(self._next, None), MOST_PER_TICK))
        if not told:
            return _SILENCE
        xids: defaultdict[str, tuple[int, ...]] = defaultdict(tuple)
        changed = False
        for uuid, kind, data in told:
            if uuid is not None and kind == _XID:
                xids[uuid] += (data,)
            changed |= uuid is None or kind != _XID or data == _XID_RECOVERY_ACTION
        return DriverEvents(dict(xids), changed)

    def close(self) -> None:
        """Free the set: before the driver is let go, and for GPUs that came back. `watch` makes another."""
        self._refused.clear()
        self._free()

    def _register(self, uuid: str, raw: Any) -> bool:
        """False: the set is undefined and must go. Any other refusal leaves the GPU for the next enumeration."""
        try:
            self._set = self._set or pynvml.nvmlEventSetCreate()
            mask = pynvml.nvmlDeviceGetSupportedEventTypes(raw) & (_XID | _CHANGES)
            if mask:
                pynvml.nvmlDeviceRegisterEvents(raw, mask, self._set)
        except pynvml.NVMLError as error:
            _log.debug("events of %s: %s", uuid, error)
            if error.value != Code.NOT_SUPPORTED:
                return bool(error.value != Code.UNKNOWN)
        self._uuids[_address(raw)] = uuid
        return True

    def _free(self) -> None:
        self._uuids.clear()
        if self._set is None:
            return
        event_set, self._set = self._set, None
        try:
            pynvml.nvmlEventSetFree(event_set)
        except pynvml.NVMLError as error:
            _log.debug("nvmlEventSetFree: %s", error)  # the driver went first

    def _next(self) -> tuple[str | None, int, int] | None:
        """Whose it is, as far as that is known before the next one is asked for; type, data. None: nothing happened."""
        if self._set is None or not self._uuids:
            return None
        self._wait = self._wait or symbol("nvmlEventSetWait_v2")
        code = self._wait(self._set, self._place, 0)
        if code == Code.TIMEOUT:
            return None
        if code in DRIVER_GONE:
            raise device_error(code, str(pynvml.NVMLError(code)), "nvmlEventSetWait")
        if code:  # such as one of the GPUs is lost: its own calls will say which
            self._free()
            return None
        event = self._event
        return self._uuids.get(_address(event.device)), event.eventType, event.eventData


def _address(raw: Any) -> int:
    return ctypes.cast(raw, ctypes.c_void_p).value or 0
