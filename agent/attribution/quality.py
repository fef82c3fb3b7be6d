"""GPM's figures of quality over time. They stand beside the bill and are never its base."""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

from gputally.accounting.stretch import Figures
from gputally.agent.sample import GpmReading

_MILLIONTHS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Average:
    start_us: int
    end_us: int
    ppm: tuple[int, int, int, int]  # SM activity, SM occupancy, tensor, DRAM


class QualityTrack:
    """One device's or instance's averages. Time counts as measured only where all four figures are known."""

    def __init__(self) -> None:
        self._averages: deque[_Average] = deque()
        self._known_us = 0

    def observe(self, gpm: GpmReading | None, offset_us: int) -> None:
        """Take an average; `offset_us` is the agent's timeline less the driver's wall clock."""
        if gpm is None:
            return
        start_us, end_us = max(self._known_us, gpm.since_us + offset_us), gpm.end_us + offset_us
        if gpm.sm is None or gpm.occupancy is None or gpm.tensor is None or gpm.dram is None or end_us <= start_us:
            return
        self._averages.append(_Average(start_us, end_us, (gpm.sm, gpm.occupancy, gpm.tensor, gpm.dram)))
        self._known_us = end_us

    def between(self, start_us: int, end_us: int) -> Figures | None:
        """The integrals over (start_us, end_us], microseconds; None where nothing of it was measured."""
        measured, sums = 0, [0, 0, 0, 0]
        for average in self._averages:
            time = min(end_us, average.end_us) - max(start_us, average.start_us)
            if time > 0:
                measured += time
                sums = [known + ppm * time for known, ppm in zip(sums, average.ppm, strict=True)]
        if not measured:
            return None
        sm, occupancy, tensor, dram = (Fraction(each, _MILLIONTHS) for each in sums)
        return Fraction(measured), sm, occupancy, tensor, dram

    def forget(self, before_us: int) -> None:
        """Drop what lies before an instant that was accounted for."""
        while self._averages and self._averages[0].end_us <= before_us:
            self._averages.popleft()
