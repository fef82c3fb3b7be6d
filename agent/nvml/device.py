"""What is kept of a GPU between ticks, and what the driver says of it when it is enumerated."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pynvml

from gputally.agent.nvml import mig as nvml_mig
from gputally.agent.nvml.errors import Code
from gputally.agent.nvml.handle import Handle, text
from gputally.agent.nvml.processes import Roster
from gputally.agent.nvml.records import sysfs_bus_id
from gputally.agent.probe.sampler import DeviceUnavailable
from gputally.agent.sample import DeviceInfo

_MIG_MODE = "nvmlDeviceGetMigMode"
_RECOVERY = "nvmlDeviceGetFieldValues"
_NO_ACTION = 0
_ASKS_FOR_RESET = {  # NVML_GPU_RECOVERY_ACTION_*, as numbers: older nvidia-ml-py do not name all of them
    1: "a reset of the GPU",
    2: "a reboot",
    4: "its processes to end and a reset of the GPU",
    6: "a reset of the bus",
    7: "a reboot",
}


@dataclass(slots=True, kw_only=True)
class Device(Handle):
    """A GPU. `instances` None: it is partitioned, but it could not be said how.

    `is_plain`: when it was last read it answered all that a tick asks of a GPU, and nothing was odd.
    """

    info: DeviceInfo
    instances: Sequence[nvml_mig.Instance] | None = None
    has_gpm: bool = False
    busy_read_to: int | None = None  # cursors: driver time stamps, microseconds since the epoch
    process_read_to: int | None = None
    last_percent: int | None = None  # the last utilisation rate
    is_plain: bool = False
    roster: Roster = field(default_factory=Roster)
    _recovery: int = _NO_ACTION  # as last read

    def forget(self) -> None:
        """Its MIG devices' handles go with its own."""
        Handle.forget(self)  # no super(): a dataclass with slots is another class than the one that it is written in
        self.instances = None
        self.is_plain = False
        self.roster.forget()

    def describe(self) -> None:
        """Ask what it is now; what the driver does not say this time stays as it was. Raises as `ask` does."""
        info = self.info
        minor = self.ask("nvmlDeviceGetMinorNumber", pynvml.nvmlDeviceGetMinorNumber)
        pci = self.ask("nvmlDeviceGetPciInfo_v3", pynvml.nvmlDeviceGetPciInfo)
        mig = self.ask(_MIG_MODE, pynvml.nvmlDeviceGetMigMode)
        self.info = replace(
            info,
            model=self.ask("nvmlDeviceGetName", pynvml.nvmlDeviceGetName) or info.model,
            minor=info.minor if minor is None else minor,
            pci_bus_id=info.pci_bus_id if pci is None else sysfs_bus_id(text(pci.busId)),
            mig_enabled=mig[0] == 1 if mig else info.mig_enabled and not self.lacks(_MIG_MODE),
        )
        self._read_recovery()
        self._read_gpm_support()
        self._read_partitions()

    @property
    def measured(self) -> list[str]:
        """UUIDs of what has utilisation of its own: the MIG devices of a partitioned GPU, else itself."""
        return [each.uuid for each in self.info.instances] if self.info.mig_enabled else [self.info.uuid]

    def check_recovery(self) -> None:
        """DeviceUnavailable while the driver asks for a reset or reboot; one that did is asked anew each time."""
        if self._recovery in _ASKS_FOR_RESET:
            self._read_recovery()
        if self._recovery in _ASKS_FOR_RESET:
            raise DeviceUnavailable(f"the driver asks for {_ASKS_FOR_RESET[self._recovery]}")

    def _read_recovery(self) -> None:
        """A driver that does not know the field (before R565) never asks for anything."""
        action = self.ask(_RECOVERY, _recovery_action)
        if action is not None or self.lacks(_RECOVERY):
            self._recovery = action or _NO_ACTION

    def _read_gpm_support(self) -> None:
        support = self.ask("nvmlGpmQueryDeviceSupport", pynvml.nvmlGpmQueryDeviceSupport)
        if support is not None:
            self.has_gpm = support.isSupportedDevice == 1
        elif self.lacks("nvmlGpmQueryDeviceSupport"):
            self.has_gpm = False

    def _read_partitions(self) -> None:
        """Last, as it may raise: until the next enumeration the GPU is then partitioned in an unknown way."""
        if not self.info.mig_enabled:
            self.instances = ()
            self.info = replace(self.info, slices=None, instances=())
            return
        slices = self.info.slices or self.ask("nvmlDeviceGetGpuInstanceProfileInfo", nvml_mig.whole_slices)
        self.info = replace(self.info, slices=slices)
        found = self.ask("nvmlDeviceGetMigDeviceHandleByIndex", nvml_mig.instances, needed=True)
        self.instances = found
        for each in found or ():
            each.latency = self.latency
        if found is not None:
            self.info = replace(self.info, instances=tuple(each.info for each in found))


def _recovery_action(raw: Any) -> int | None:
    """Each field has a return code of its own, and says in which member of the union its value is."""
    (field,) = pynvml.nvmlDeviceGetFieldValues(raw, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    if field.nvmlReturn != Code.SUCCESS:
        return None
    is_long = field.valueType == pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
    return int(field.value.ullVal if is_long else field.value.uiVal)
