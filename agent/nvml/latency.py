"""How long the driver's calls take, by name: counts in a few buckets, which each full sample carries to the agent."""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gputally.agent.sample import CALL_BOUNDS_US, CallTimes

_SHORT_NS = CALL_BOUNDS_US[0] * 1000  # most calls are


@dataclass(slots=True)
class _Times:
    counts: list[int] = field(default_factory=lambda: [0] * (len(CALL_BOUNDS_US) + 1))
    total_ns: int = 0


class Latency:
    """One for all GPUs of a driver. The names are those that the code asks by, so there are few."""

    def __init__(self, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self.clock_ns = clock_ns
        self._times: dict[str, _Times] = {}

    def add(self, call: str, began_ns: int) -> None:
        """A call that began then is over now."""
        self._count(call, self.clock_ns() - began_ns)

    def _count(self, call: str, took_ns: int) -> None:
        times = self._times.get(call)
        if times is None:
            times = self._times[call] = _Times()
        times.counts[0 if took_ns <= _SHORT_NS else bisect_left(CALL_BOUNDS_US, took_ns / 1000)] += 1
        times.total_ns += took_ns

    def add_all(self, calls: Sequence[str], times_ns: Sequence[int]) -> None:
        """Calls that followed each other: one began at each of these times but the last, when all were over."""
        for call, (began_ns, ended_ns) in zip(calls, pairwise(times_ns), strict=True):
            self._count(call, ended_ns - began_ns)

    def take(self) -> tuple[CallTimes, ...]:
        """What was measured since the last time."""
        taken, self._times = self._times, {}
        return tuple(CallTimes(call, tuple(t.counts), t.total_ns // 1000) for call, t in sorted(taken.items()))
