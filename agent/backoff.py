"""How long to wait before trying again: exponential, capped, and spread so that a fleet does not return as one."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Full jitter: the wait is uniform in [0, min(cap, base × 2ⁿ)) seconds. `random` is uniform in [0, 1)."""

    random: Callable[[], float]
    base_s: float = 0.5
    cap_s: float = 60.0
    _failures: int = 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return ceiling * self.random()

    def reset(self) -> None:
        """Something worked: the next failure is the first again."""
        self._failures = 0
