"""When a device was busy: successive readings become contiguous pieces of time without overlap or hole.

A buffer entry (end, percent) covers the time since the entry before it. What the buffer does not reach is a gap: up to
two sample intervals are filled with the last value (and say so), a longer one is unobserved as a whole.
"""

from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from statistics import median_low

from gputally.accounting.settlement import Coverage
from gputally.accounting.states import Source
from gputally.agent.sample import Reading

WHOLE = 1_000_000  # parts per million: busy all of the time
SLOWEST_BUFFER_US = 1_000_000  # NVML: the period of utilisation is between 1/6 s and 1 s, by product
_PPM_PER_PERCENT = WHOLE // 100
_Entry = tuple[int, int | None]  # end on the agent's timeline, percent
_CONTIGUOUS = 1.5  # of the buffer's period: entries closer than this have nothing between them


@dataclass(frozen=True, slots=True)
class Piece:
    """Busy parts per million of (start_us, end_us], microseconds of the agent's timeline; 0 where not measured."""

    start_us: int
    end_us: int
    ppm: int
    coverage: Coverage = Coverage.MEASURED
    source: Source = Source.NONE
    held: bool = False


class BusyTrack:
    """One device's busy time, known up to `known_us`; `extend` and `give_up` move that forward and return pieces."""

    def __init__(self, start_us: int, interval_us: int, first: Reading | None) -> None:
        self.known_us = start_us
        self._interval_us = interval_us
        self._period_us: int | None = None
        self._told_us = start_us  # up to where the driver told itself; what was filled since then is not its word
        self._asked_us = start_us  # the last time at which the driver had nothing newer than what is known
        self._percent: int | None = None
        self._source = first.busy_source if first else Source.NONE
        if first:
            self._remember(first)

    def extend(self, now_us: int, reading: Reading, offset_us: int) -> list[Piece]:
        """Take the reading at `now_us`; `offset_us` is the agent's timeline less the driver's wall clock."""
        if reading.busy_source is Source.DEVICE_SAMPLES:
            if reading.busy is None:
                return []  # nobody asked: the next reading tells of this time, too
            known_us = self.known_us - offset_us
            entries = [(e.end_us + offset_us, e.percent) for e in reading.busy if e.end_us > known_us]
            since_us = None if reading.busy_since_us is None else reading.busy_since_us + offset_us
            pieces = self._from_buffer(now_us, entries, since_us)
        elif reading.busy_source is Source.DEVICE_RATE and reading.utilization_percent is not None:
            pieces = self._from_rate(now_us, reading.utilization_percent)
        else:
            pieces = self._without_value(now_us, reading)
        self._source = reading.busy_source
        self._told_us = self.known_us
        self._remember(reading)
        return pieces

    def give_up(self, until_us: int, silent_us: int, *, hold: bool) -> list[Piece]:
        """No more can be learned of the time up to `until_us`: a short gap holds the last value, a long one nothing.

        `silent_us`: up to where the driver is known to have been silent, which may be later: a gap is one whole.
        """
        if until_us <= self.known_us:
            return []
        if hold and self._percent is not None and silent_us - self._told_us <= 2 * self._interval_us:
            return self._to(until_us, self._percent, held=True)
        return self._unmeasured(until_us, Coverage.NO_SAMPLE)

    def _without_value(self, now_us: int, reading: Reading) -> list[Piece]:
        if now_us - self._told_us > 2 * self._interval_us:
            return self._unmeasured(now_us, Coverage.NO_SAMPLE)
        invalid = any(reason.startswith("utilization") for reason in reading.rejected)
        return self._unmeasured(now_us, Coverage.INVALID_READING if invalid else Coverage.NO_UTILISATION)

    def _remember(self, reading: Reading) -> None:
        if reading.busy_source is Source.NONE:
            self._percent = None
        elif reading.busy and reading.busy[-1].percent is not None:
            self._percent = reading.busy[-1].percent
        elif reading.utilization_percent is not None:
            self._percent = reading.utilization_percent

    def _from_rate(self, now_us: int, percent: int) -> list[Piece]:
        if now_us - self._told_us > 2 * self._interval_us:
            return self._unmeasured(now_us, Coverage.NO_SAMPLE)
        self._source = Source.DEVICE_RATE
        return self._to(now_us, percent) if now_us > self.known_us else []

    def _from_buffer(self, now_us: int, entries: list[_Entry], since_us: int | None) -> list[Piece]:
        self._source = Source.DEVICE_SAMPLES
        if not entries:
            return self._nothing_newer(now_us, since_us)
        if len(entries) > 1:
            self._period_us = median_low([b_us - a_us for (a_us, _), (b_us, _) in pairwise(entries)])
        pieces = self._before(entries[0][0])
        start_us = self.known_us
        for percent, alike in groupby(entries, itemgetter(1)):  # a GPU at rest or at its limit says the same for long
            *_, (end_us, _) = alike
            if percent is None:
                pieces.append(Piece(start_us, end_us, 0, Coverage.INVALID_READING))
            else:
                ppm = percent * _PPM_PER_PERCENT
                pieces.append(Piece(start_us, end_us, ppm, Coverage.MEASURED, Source.DEVICE_SAMPLES))
            start_us = end_us
        self._asked_us = self.known_us = start_us
        return pieces

    def _nothing_newer(self, now_us: int, since_us: int | None) -> list[Piece]:
        """The driver has no entry newer than `since_us`: idle, or asked too soon. Idle is sure up to one period ago."""
        self._asked_us = now_us
        idle_us = now_us - (self._period_us or SLOWEST_BUFFER_US)
        missed = [] if since_us is None else self.give_up(min(since_us, idle_us), since_us, hold=True)
        return missed + self._idle_to(idle_us)

    def _before(self, first_us: int) -> list[Piece]:
        """What lies between the known time and the first entry's own period: idle, a gap, or nothing."""
        distance_us = first_us - self.known_us
        if self._period_us is None and self._asked_us <= self.known_us and distance_us <= 2 * self._interval_us:
            return []
        period_us = self._period_us or SLOWEST_BUFFER_US
        if distance_us <= _CONTIGUOUS * period_us:
            return []
        pieces = self._idle_to(min(self._asked_us, first_us - period_us))
        gap_end_us = first_us - period_us
        return pieces + self.give_up(gap_end_us, gap_end_us, hold=True)

    def _idle_to(self, until_us: int) -> list[Piece]:
        return self._to(until_us, 0) if until_us > self.known_us else []

    def _to(self, until_us: int, percent: int, *, held: bool = False) -> list[Piece]:
        piece = Piece(self.known_us, until_us, percent * _PPM_PER_PERCENT, Coverage.MEASURED, self._source, held)
        self.known_us = until_us
        return [piece]

    def _unmeasured(self, until_us: int, coverage: Coverage) -> list[Piece]:
        if until_us <= self.known_us:
            return []
        piece = Piece(self.known_us, until_us, 0, coverage)
        self.known_us = until_us
        return [piece]
