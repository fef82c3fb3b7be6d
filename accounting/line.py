"""Lines and windows: what is billed, in integers. Times are microseconds, energies millijoules."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gputally.accounting.keys import Holding, LineKey
from gputally.accounting.states import Source


@dataclass(frozen=True, slots=True)
class Quality:
    """GPM's figures of how well the time was used: each is ratio times time, microseconds, over `measured_us`.

    They are never the billing base. Time counts as measured only where the device gave all four.
    """

    measured_us: int
    sm_us: int = 0
    occupancy_us: int = 0
    tensor_us: int = 0
    dram_us: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a window: one owner's time on one partition of one device, in the five states.

    `burst_us`, `intruder_us` and `held_us` are memos: they stand outside the identity of the states, as do
    `memory_byte_s` (memory that the owner's processes held) and `quality`. None is unknown, which is not 0.
    """

    key: LineKey
    source: Source
    used_us: int = 0
    idle_us: int = 0
    unallocated_us: int = 0
    unavailable_us: int = 0
    unobserved_us: int = 0
    burst_us: int = 0
    intruder_us: int = 0
    held_us: int = 0
    energy_idle_mj: int | None = None
    energy_dynamic_mj: int | None = None
    memory_byte_s: int | None = None
    quality: Quality | None = None

    @property
    def capacity_us(self) -> int:
        """The line's part of the device's capacity: the sum of its states."""
        return self.used_us + self.idle_us + self.unallocated_us + self.unavailable_us + self.unobserved_us

    @property
    def energy_mj(self) -> int | None:
        """Idle and dynamic energy together; None where neither is known."""
        known = [part for part in (self.energy_idle_mj, self.energy_dynamic_mj) if part is not None]
        return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class DeviceWindow:
    """One device's part of a window.

    `energy_start_mj` and `energy_end_mj` are the counter at the window's edges, rounded down once (None: unknown);
    `energy_estimated` says that the counter is the integral of power; `energy_breaks` counts restarts of the counter
    and stretches without a reading: where it is 0, the lines' energies sum to the difference of the two values.

    The rest is for what lies outside the window. `start_holders` and `end_holders` say who held what at its edges and
    `unavailable_at_end` whether the device was unusable then: a gap is booked by them; `idle_power_mw` (None unknown)
    splits a gap's energy. `profiles` names the MIG profile of partitions that have one. `ghost_memory_byte_s` is the
    memory of processes that no longer exist.
    """

    uuid: str
    model: str
    capacity_us: int
    lines: tuple[Line, ...]
    energy_start_mj: int | None = None
    energy_end_mj: int | None = None
    energy_estimated: bool = False
    energy_breaks: int = 0
    start_holders: tuple[Holding, ...] = ()
    end_holders: tuple[Holding, ...] = ()
    unavailable_at_end: bool = False
    idle_power_mw: int | None = None
    profiles: Mapping[str, str] = field(default_factory=dict)
    ghost_memory_byte_s: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Usage of one node over [start_us, end_us): the unit on the wire, accepted once and whole.

    `skipped_us` is wall time that a forward step of the clock skipped just before the start;
    `waited_us` is time that passed uncounted while a clock that was set back caught up.
    """

    cluster: str
    node: str
    start_us: int
    end_us: int
    devices: tuple[DeviceWindow, ...]
    skipped_us: int = 0
    waited_us: int = 0
