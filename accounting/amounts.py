"""What one line gets of a stretch, exactly: times in microseconds, energies in millijoules, both as fractions."""

from dataclasses import dataclass, field
from fractions import Fraction

from gputally.accounting.keys import LineKey
from gputally.accounting.states import Source, State
from gputally.accounting.stretch import ZERO, Figures


@dataclass(slots=True)
class Amounts:
    """What one line gets. Memos (burst, intruder, held, memory, quality) stand outside the five states.

    `memory_known` is None where nothing was said of memory yet, and False where a part of it is not known.
    """

    states: dict[State, Fraction] = field(default_factory=dict)
    burst_us: Fraction = ZERO
    intruder_us: Fraction = ZERO
    held_us: Fraction = ZERO
    energy_idle_mj: Fraction = ZERO
    energy_dynamic_mj: Fraction = ZERO
    source: Source = Source.NONE
    memory_byte_us: Fraction | int = 0
    memory_known: bool | None = None
    quality: Figures | None = None

    def add_time(self, state: State, time: Fraction) -> None:
        """Add `time` microseconds of `state`."""
        if time:
            self.states[state] = self.states.get(state, ZERO) + time

    def add_memory(self, byte_us: Fraction | int | None) -> None:
        """Add bytes times microseconds; None makes the sum unknown."""
        self.memory_known = byte_us is not None and self.memory_known is not False
        self.memory_byte_us += byte_us or 0

    def measured_by(self, source: Source) -> None:
        """Some of it was measured by `source`."""
        self.source = self.source.least_certain(source)

    def merge(self, other: "Amounts") -> None:
        """Add another stretch's amounts of the same line."""
        for state, time in other.states.items():
            self.add_time(state, time)
        self.burst_us += other.burst_us
        self.intruder_us += other.intruder_us
        self.held_us += other.held_us
        self.energy_idle_mj += other.energy_idle_mj
        self.energy_dynamic_mj += other.energy_dynamic_mj
        self.measured_by(other.source)
        if other.memory_known is not None:
            self.add_memory(other.memory_byte_us if other.memory_known else None)
        if other.quality:
            self.quality = _sum(self.quality, other.quality) if self.quality else other.quality

    def scale_time(self, factor: Fraction) -> None:
        """Multiply what is time; energy and memory stay what they are."""
        self.states = {state: time * factor for state, time in self.states.items()}
        self.burst_us *= factor
        self.intruder_us *= factor
        self.held_us *= factor
        self.quality = _product(self.quality, factor)

    def scale(self, factor: Fraction) -> None:
        """Multiply all of it."""
        self.scale_time(factor)
        self.energy_idle_mj *= factor
        self.energy_dynamic_mj *= factor
        self.memory_byte_us *= factor


Settled = dict[LineKey, Amounts]


def _sum(one: Figures, other: Figures) -> Figures:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3], one[4] + other[4])


def _product(figures: Figures | None, factor: Fraction) -> Figures | None:
    if figures is None:
        return None
    measured, sm, occupancy, tensor, dram = figures
    return (measured * factor, sm * factor, occupancy * factor, tensor * factor, dram * factor)
