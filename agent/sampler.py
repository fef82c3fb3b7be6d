"""One tick of the probe: ask the driver about every device, and /proc about every process, and make a Sample.

The driver and the process table stand behind protocols that are declared here, by their user: `nvml.py` is NVML,
`simulated.py` obeys the same physics, `process.py` reads /proc.
"""

from collections.abc import Sequence
from typing import Protocol

from gputally.agent.sample import DeviceInfo, Process, ProcessReading, Reading


class DriverError(Exception):
    """The driver cannot be used. The message is one line that says what to do."""


class DriverUnavailable(DriverError):
    """No library, no driver, no GPU or no permission: look again later."""


class DriverReplaced(DriverError):
    """The driver was upgraded or re-initialised under us: only a new process can use it."""


class DeviceUnavailable(DriverError):
    """This device is lost or needs a reset; the others go on."""


class DeviceSilent(DriverError):
    """This device gave no usable answer this time; ask again on the next tick."""


class Driver(Protocol):
    """What the sampler needs of a GPU driver. One thread calls it; it keeps a cursor per device."""

    def open(self) -> None:
        """Load and initialise; raises DriverUnavailable or DriverReplaced. Opening twice is harmless."""

    def close(self) -> None:
        """Let go of the driver, so that it can be upgraded. Closing twice is harmless."""

    def devices(self) -> Sequence[DeviceInfo]:
        """Enumerate the devices; forgets handles, keeps cursors. Raises DriverError.

        A device that was seen before and is lost now stays in the list.
        """

    def read(self, uuid: str) -> Reading:
        """The cheap values of a device; raises DeviceUnavailable, DeviceSilent or DriverReplaced."""

    def read_processes(self, uuid: str) -> ProcessReading:
        """Who is on the device, with `process` not yet filled in; raises as `read` does."""


class Processes(Protocol):
    """What the sampler needs of /proc."""

    def resolve(self, pid: int) -> Process | None:
        """The process with this pid now; None when there is none. Cached as long as it is the same process."""
