"""The facts of a stretch: a piece of a window in which nothing changes that decides who pays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.states import Reason, Source

ZERO = Fraction(0)
Figures = tuple[Fraction, Fraction, Fraction, Fraction, Fraction]  # the fields of line.Quality in their order, exactly


class Coverage(Enum):
    """What is known of a stretch's activity; the value is the reason of its unobserved time."""

    MEASURED = Reason.NONE
    NO_SAMPLE = Reason.NO_SAMPLE
    NO_UTILISATION = Reason.NO_UTILISATION
    INVALID_READING = Reason.INVALID_READING
    UNATTRIBUTED = Reason.UNATTRIBUTED  # sampled, but nobody can say who held it


@dataclass(frozen=True, slots=True)
class Contest:
    """A part of a device that the kubelet lists for several pods, none of which came later: nobody's to pay."""

    owners: frozenset[Owner]
    share: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The facts of one stretch on one device, or on one MIG instance (shares are then of the instance).

    `busy_us` is the time with at least one kernel executing; `process_busy_us` the same per known owner of processes
    on the device, holders included. `held_us` is the part that was filled with the last value instead of a sample.
    `clients`: the driver cannot tell processes apart here (MPS, an instance), and these holders have one that runs;
    None: it can. `unused_share`: of the free part, what claims hold that no pod uses. `memory_byte_us`: bytes times
    microseconds that each owner's processes held, the platform's for overhead (an owner's None: not known); None:
    no process list. `quality`: GPM's figures. `monitors`: owners that are here to look, and no intruders.

    `instances`: the device is partitioned, each is settled by itself; of the device's own facts then only `coverage`
    (of the rest), `available` and the energy count. `energy_mj` is None where no energy is known, `idle_power_mw`
    where the device's idle power is not known yet.
    """

    duration_us: int
    holdings: tuple[Holding, ...] = ()
    contest: Contest | None = None
    coverage: Coverage = Coverage.MEASURED
    available: bool = True
    busy_us: Fraction = ZERO
    process_busy_us: Mapping[Owner, Fraction] = field(default_factory=dict)
    source: Source = Source.NONE
    held_us: int = 0
    energy_mj: Fraction | None = None
    idle_power_mw: int | None = None
    clients: frozenset[Owner] | None = None
    unused_share: Fraction = ZERO
    memory_byte_us: Mapping[Owner, Fraction | int | None] | None = None
    quality: Figures | None = None
    monitors: frozenset[Owner] = frozenset()
    instances: tuple["InstanceStretch", ...] = ()

    @property
    def sole_owner(self) -> Owner | None:
        """The owner that holds all of it; None where there is no such owner."""
        owners = {holding.owner for holding in self.holdings}
        whole = len(owners) == 1 and sum(holding.share for holding in self.holdings) == 1
        return owners.pop() if whole else None


@dataclass(frozen=True, slots=True)
class InstanceStretch:
    """One MIG instance in a stretch: a device of its own, of which the whole device has `share`."""

    uuid: str
    share: Fraction
    stretch: Stretch
    profile: str = ""
