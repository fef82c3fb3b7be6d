"""Sums of postings: time, energy, memory and quality, in the ledger's integers."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from gputally.accounting.states import State
from gputally.collector.allocation.columns import sum_of


class Amounts(NamedTuple):
    """Time in microseconds, energy in millijoules, memory in byte-seconds; None is unknown, which is not 0.

    `burst_us` and `intruder_us` are memos outside the identity of the states; `gap_us` is the part of the time that
    no window covers. The rest is quality, never billed: GPM's ratios times time, over `quality_us` that it measured.
    """

    used_us: int = 0
    idle_us: int = 0
    unallocated_us: int = 0
    unavailable_us: int = 0
    unobserved_us: int = 0
    reserved_us: int = 0
    burst_us: int = 0
    intruder_us: int = 0
    energy_mj: int | None = None
    gap_us: int = 0
    memory_byte_s: int | None = None
    quality_us: int | None = None
    sm_us: int | None = None
    occupancy_us: int | None = None
    tensor_us: int | None = None
    dram_us: int | None = None

    @property
    def capacity_us(self) -> int:
        """The five states together (I1)."""
        return self.used_us + self.idle_us + self.unallocated_us + self.unavailable_us + self.unobserved_us

    @property
    def coverage(self) -> float | None:
        """The part of the capacity that was observed, 0 to 1; None where there is no capacity."""
        return 1 - self.unobserved_us / self.capacity_us if self.capacity_us else None

    @property
    def efficiency(self) -> float | None:
        """used / (used + idle), 0 to 1; None where nothing of it was measured."""
        measured_us = self.used_us + self.idle_us
        return self.used_us / measured_us if measured_us else None

    @property
    def by_state(self) -> tuple[int, ...]:
        """The five states, in their order."""
        return (self.used_us, self.idle_us, self.unallocated_us, self.unavailable_us, self.unobserved_us)

    def quality(self, name: str) -> float | None:
        """The mean of a quality figure (`sm_us` and its kin) over the time that it was measured in, 0 to 1."""
        part: int | None = getattr(self, name)
        return part / self.quality_us if part is not None and self.quality_us else None


Values: TypeAlias = Sequence[int | None]  # the first fields of amounts, in their order; or sums for them


def summed(parts: Iterable[Amounts]) -> Amounts:
    """The sum of amounts."""
    rows = list(parts)
    return Amounts(*map(sum_of, zip(*rows, strict=True))) if rows else Amounts()  # type: ignore[arg-type]  # as they were


def of_states(values: Values, states: Sequence[State]) -> Values:
    """The time of some states alone, out of an Amounts' fields; nothing else can be told state by state."""
    if len(states) == _STATES:
        return values
    return [us if state in states else 0 for state, us in zip(State, values, strict=False)]


_STATES = len(State)
