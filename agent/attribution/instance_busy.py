"""When a MIG instance was busy: GPM's averages become contiguous pieces of time without overlap or hole.

GPM measures a GPU instance. Where several compute instances share one, nobody can tell which of them was busy, so
their time is as little measurable as on a device without GPM.
"""

from gputally.accounting.settlement import Coverage
from gputally.accounting.states import Source
from gputally.agent.attribution.busy import Piece
from gputally.agent.sample import InstanceReading


class InstanceBusyTrack:
    """One instance's busy time, known up to `known_us`; `alone`: no other compute instance is in its GPU instance."""

    def __init__(self, start_us: int, interval_us: int, *, alone: bool) -> None:
        self.known_us = start_us
        self._interval_us = interval_us
        self.alone = alone
        self._told_us = start_us
        self._ppm: int | None = None

    def extend(self, now_us: int, reading: InstanceReading, offset_us: int) -> list[Piece]:
        """Take the reading at `now_us`; without an average yet there is nothing to say, and it is waited for."""
        if not (self.alone and reading.gpm_supported):
            self._told_us = now_us
            return self._to(now_us, None)
        if reading.gpm is None:
            return []
        since_us, end_us = reading.gpm.since_us + offset_us, min(now_us, reading.gpm.end_us + offset_us)
        pieces = self._before(min(since_us, end_us), reading.gpm.graphics)
        self._ppm = reading.gpm.graphics
        self._told_us = max(self._told_us, end_us)
        return pieces + self._to(end_us, self._ppm)

    def give_up(self, until_us: int, silent_us: int, *, hold: bool) -> list[Piece]:
        """No more can be learned of the time up to `until_us`: see `BusyTrack.give_up`.

        A long gap cannot be told: whether there was no sample at all, the device knows.
        """
        short = silent_us - self._told_us <= 2 * self._interval_us
        return self._to(until_us, self._ppm if hold and short else None, held=True)

    def _before(self, since_us: int, ppm: int | None) -> list[Piece]:
        """What lies before an average: the time between two pairs of GPM samples, or before the first."""
        if self._ppm is None and since_us - self.known_us < self._interval_us:
            return self._to(since_us, ppm, held=True)
        return self.give_up(since_us, since_us, hold=True)

    def _to(self, until_us: int, ppm: int | None, *, held: bool = False) -> list[Piece]:
        if until_us <= self.known_us:
            return []
        start_us, self.known_us = self.known_us, until_us
        if ppm is None:
            return [Piece(start_us, until_us, 0, Coverage.NO_UTILISATION)]
        return [Piece(start_us, until_us, ppm, Coverage.MEASURED, Source.GPM, held)]
