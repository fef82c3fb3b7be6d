"""Energy of a device: the hardware counter as a line through its readings, and the power it draws when idle.

Where a device has no counter, the integral of its power stands in for one, and is marked as estimated.
"""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

from gputally.agent.sample import DeviceSample

ZERO = Fraction(0)
NO_PROCESS_US = 60_000_000  # a device is idle for certain once it had no process for this long
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy over a stretch: exact, and as the difference of the counter's rounded values at its two ends (mJ)."""

    exact_mj: Fraction
    whole_mj: int


@dataclass(frozen=True, slots=True)
class _Segment:
    start_us: int
    end_us: int
    start_mj: int
    end_mj: int
    broken: bool = False

    def at(self, us: int) -> Fraction | int:
        if us <= self.start_us:
            return self.start_mj
        if us >= self.end_us:
            return self.end_mj
        passed = Fraction(us - self.start_us, self.end_us - self.start_us)
        return self.start_mj + (self.end_mj - self.start_mj) * passed


class EnergyTrack:
    """The counter of one device, linear between its readings; `known_us` is the time of the last one."""

    def __init__(self) -> None:
        self.known_us: int | None = None
        self.estimated = False
        self._segments: deque[_Segment] = deque()
        self._last_mj = 0
        self._power_mw: int | None = None  # the last one of an integral that is under way
        self._integral_mj = ZERO

    def observe(self, now_us: int, sample: DeviceSample) -> None:
        """Take the reading of one tick."""
        reading = sample.reading
        if reading is None:
            return
        if reading.energy_mj is not None:
            self._reading(now_us, reading.energy_mj, of_another=self._power_mw is not None)
            self._power_mw = None
        elif not reading.energy_supported and reading.power_mw is not None:
            self._integrate(now_us, reading.power_mw)

    def _integrate(self, now_us: int, power_mw: int) -> None:
        """The trapezoid of two power readings, added to a counter of our own; like any counter it reads whole mJ."""
        self.estimated = True
        if self.known_us is not None and self._power_mw is not None:
            self._integral_mj += Fraction((self._power_mw + power_mw) * (now_us - self.known_us), 2 * _MICRO)
        self._reading(now_us, int(self._integral_mj), of_another=self._power_mw is None)
        self._power_mw = power_mw

    def _reading(self, now_us: int, value_mj: int, *, of_another: bool) -> None:
        """`of_another`: the reading before was of another counter, so their difference says nothing."""
        if self.known_us is not None and now_us > self.known_us:
            broken = of_another or value_mj < self._last_mj
            self._segments.append(_Segment(self.known_us, now_us, self._last_mj, value_mj, broken))
        self.known_us = now_us
        self._last_mj = value_mj

    def value_mj(self, us: int) -> int | None:
        """The counter at an instant between two readings, rounded down; None where it is not known."""
        for segment in self._segments:
            if segment.start_us <= us <= segment.end_us and not segment.broken:
                return int(segment.at(us))
        return self._last_mj if self.known_us == us else None

    def between(self, start_us: int, end_us: int) -> Energy | None:
        """The energy of (start_us, end_us]; None where no reading reaches into it."""
        exact: Fraction | int = 0
        whole, seen = 0, False
        for segment in self._segments:
            if segment.end_us <= start_us or segment.start_us >= end_us or segment.broken:
                continue
            low = segment.at(max(start_us, segment.start_us))
            high = segment.at(min(end_us, segment.end_us))
            exact, whole, seen = exact + high - low, whole + int(high) - int(low), True
        return Energy(Fraction(exact), whole) if seen else None

    def breaks(self, start_us: int, end_us: int) -> int:
        """How many restarts of the counter were found out in (start_us, end_us]; their time has no energy."""
        return sum(segment.broken and start_us < segment.end_us <= end_us for segment in self._segments)

    def forget(self, before_us: int) -> None:
        """Drop what lies before an instant that was accounted for.

        What the counter moves by since a reading before that instant can only be booked after it.
        """
        while self._segments and self._segments[0].end_us < before_us:
            self._segments.popleft()
        if self.known_us is not None and self.known_us < before_us:
            self.known_us = before_us


class IdlePower:
    """The lowest power seen on a device that had no process for a minute; None until there was such a minute."""

    def __init__(self, configured_mw: int | None = None) -> None:
        self.lowest_mw = configured_mw
        self._empty_since_us: int | None = None

    def interrupt(self) -> None:
        """The timeline was stepped: the minute begins anew."""
        self._empty_since_us = None

    def observe(self, now_us: int, sample: DeviceSample) -> None:
        """Take one tick's process list and power."""
        if sample.reading is None or (sample.detail and sample.detail.processes != ()):
            self._empty_since_us = None
        elif sample.detail and self._empty_since_us is None:
            self._empty_since_us = now_us
        power = sample.reading.power_mw if sample.reading else None
        if power is not None and self._empty_since_us is not None and now_us - self._empty_since_us >= NO_PROCESS_US:
            self.lowest_mw = power if self.lowest_mw is None else min(self.lowest_mw, power)
