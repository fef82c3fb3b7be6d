"""The agent's timeline: wall time = anchor + monotonic, so that no duration ever depends on the wall clock."""

from dataclasses import dataclass

STEP_US = 50_000  # a wall clock that is off the timeline by more than this was stepped, not slewed


@dataclass(frozen=True, slots=True)
class Instant:
    """An instant on the timeline (`us`, microseconds since the epoch), and how far a step of the wall clock moved it.

    `offset_us` turns the driver's wall-clock stamps into timeline time: stamp + offset.
    """

    us: int
    offset_us: int
    step_us: int = 0


class Timeline:
    """Turns (monotonic, wall) pairs into instants; takes a new anchor when the wall clock was stepped."""

    def __init__(self) -> None:
        self._anchor_us: int | None = None

    def at(self, monotonic_us: int, wall_us: int) -> Instant:
        """The instant of a reading of both clocks."""
        if self._anchor_us is None:
            self._anchor_us = wall_us - monotonic_us
        step_us = wall_us - monotonic_us - self._anchor_us
        if abs(step_us) > STEP_US:
            self._anchor_us += step_us
            return Instant(wall_us, 0, step_us)
        now_us = self._anchor_us + monotonic_us
        return Instant(now_us, now_us - wall_us)
