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
    """Energy over a stretch: exact, and as the difference of the counter's rounded values at its two ends (mJ).

    `breaks` counts restarts of the counter inside it; their time has no energy.
    """

    exact_mj: Fraction
    whole_mj: int
    breaks: int = 0


@dataclass(frozen=True, slots=True)
class _Segment:
    start_us: int
    end_us: int
    start_mj: Fraction
    end_mj: Fraction
    broken: bool = False

    def at(self, us: int) -> Fraction:
        if us <= self.start_us:
            return self.start_mj
        if us >= self.end_us:
            return self.end_mj
        return self.start_mj + (self.end_mj - self.start_mj) * (us - self.start_us) / (self.end_us - self.start_us)


class EnergyTrack:
    """The counter of one device, linear between its readings; `known_us` is the time of the last one."""

    def __init__(self) -> None:
        self.known_us: int | None = None
        self.estimated = False
        self._segments: deque[_Segment] = deque()
        self._last_mj = ZERO
        self._power_mw: int | None = None

    def observe(self, now_us: int, sample: DeviceSample) -> None:
        """Take the reading of one tick."""
        reading = sample.reading
        if reading is None:
            return
        if reading.energy_mj is not None:
            self._reading(now_us, Fraction(reading.energy_mj))
        elif not reading.energy_supported and reading.power_mw is not None:
            self._integrate(now_us, reading.power_mw)

    def _integrate(self, now_us: int, power_mw: int) -> None:
        """The trapezoid of two power readings, added to a counter of our own."""
        self.estimated = True
        if self.known_us is not None and self._power_mw is not None:
            added = Fraction((self._power_mw + power_mw) * (now_us - self.known_us), 2 * _MICRO)
            self._reading(now_us, self._last_mj + added)
        else:
            self._reading(now_us, self._last_mj)
        self._power_mw = power_mw

    def _reading(self, now_us: int, value_mj: Fraction) -> None:
        if self.known_us is not None and now_us > self.known_us:
            broken = value_mj < self._last_mj
            self._segments.append(_Segment(self.known_us, now_us, self._last_mj, value_mj, broken))
        self.known_us = now_us
        self._last_mj = value_mj

    def value_mj(self, us: int) -> int | None:
        """The counter at an instant between two readings, rounded down; None where it is not known."""
        for segment in self._segments:
            if segment.start_us <= us <= segment.end_us and not segment.broken:
                return int(segment.at(us))
        return int(self._last_mj) if self.known_us == us else None

    def between(self, start_us: int, end_us: int) -> Energy | None:
        """The energy of (start_us, end_us]; None where no reading reaches into it."""
        exact, whole, breaks, seen = ZERO, 0, 0, False
        for segment in self._segments:
            if segment.end_us <= start_us or segment.start_us >= end_us:
                continue
            if segment.broken:
                breaks += 1
                continue
            low = segment.at(max(start_us, segment.start_us))
            high = segment.at(min(end_us, segment.end_us))
            exact, whole, seen = exact + high - low, whole + int(high) - int(low), True
        return Energy(exact, whole, breaks) if seen or breaks else None

    def forget(self, before_us: int) -> None:
        """Drop what lies before an instant that was accounted for."""
        while self._segments and self._segments[0].end_us < before_us:
            self._segments.popleft()


class IdlePower:
    """The lowest power seen on a device that had no process for a minute; None until there was such a minute."""

    def __init__(self, configured_mw: int | None = None) -> None:
        self.lowest_mw = configured_mw
        self._empty_since_us: int | None = None

    def observe(self, now_us: int, sample: DeviceSample) -> None:
        """Take one tick's process list and power."""
        if sample.reading is None or (sample.detail and sample.detail.processes != ()):
            self._empty_since_us = None
        elif sample.detail and self._empty_since_us is None:
            self._empty_since_us = now_us
        power = sample.reading.power_mw if sample.reading else None
        if power is not None and self._empty_since_us is not None and now_us - self._empty_since_us >= NO_PROCESS_US:
            self.lowest_mw = power if self.lowest_mw is None else min(self.lowest_mw, power)
