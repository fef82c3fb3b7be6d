"""What a whole GPU was used for in a week."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Use:
    """Of a GPU; several are one with the sums of their time and the largest of the rest. `peak_bytes` None: not known
    of all of the time."""

    used_us: int
    idle_us: int
    unobserved_us: int
    busiest_permille: int
    peak_bytes: int | None

    def plus(self, other: "Use") -> "Use":
        """Both together."""
        return self._with(other, max)

    def beside(self, other: "Use") -> "Use":
        """Both on one device: what they hold of its memory adds up."""
        return self._with(other, sum)

    def _with(self, other: "Use", of_peaks: Callable[[tuple[int, int]], int]) -> "Use":
        one, two = self.peak_bytes, other.peak_bytes
        return Use(
            self.used_us + other.used_us,
            self.idle_us + other.idle_us,
            self.unobserved_us + other.unobserved_us,
            max(self.busiest_permille, other.busiest_permille),
            None if one is None or two is None else of_peaks((one, two)),
        )

    @property
    def measured_us(self) -> int:
        """The time of which `used_us` is the busy part."""
        return self.used_us + self.idle_us

    @property
    def held_us(self) -> int:
        """All of the time."""
        return self.measured_us + self.unobserved_us
