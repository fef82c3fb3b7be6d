"""CPU time of this process and of others, to the nanosecond, and rounds in which two ways take turns."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import psutil


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, with those of its threads that ended; raises ProcessLookupError."""
    try:
        # clock_getcpuclockid(3): the kernel's number for the CPU clock of another process.
        return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
    except OSError as error:
        raise ProcessLookupError(pid) from error


def life_s(pid: int) -> float:
    """CPU seconds of a process and its living children since they began."""
    return sum(cpu_s(member) for member in family(pid))


def family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def pss_mib(pids: Iterable[int]) -> float:
    """What the processes hold, pages shared with others divided among them."""
    return float(sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 2**20)


class CpuOf:
    """CPU seconds of processes and their children since this was made; children may come and go."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._before = self._now()

    def seconds(self) -> float:
        """Until now, without the last moments of children that have ended."""
        return sum(now - self._before.get(pid, 0.0) for pid, now in self._now().items())

    def _now(self) -> dict[int, float]:
        found = {}
        for pid in self._pids:
            for member in family(pid):
                with suppress(ProcessLookupError):
                    found[member] = cpu_s(member)
        return found


@dataclass(frozen=True, slots=True)
class Cost:
    """What a piece of work took, seconds."""

    wall: float
    cpu: float


def cost(work: Callable[[], object], *pids: int) -> Cost:
    """What a call takes in this process and, in CPU time, in others and their children."""
    others = CpuOf(*pids)
    own, began = time.process_time(), time.perf_counter()
    work()
    wall = time.perf_counter() - began
    return Cost(wall, time.process_time() - own + others.seconds())


def in_turns(rounds: int, work: Callable[[], Cost], least: Callable[[], Cost]) -> tuple[Cost, Cost]:
    """The medians of both, which take turns, so that a machine that slows down slows both."""
    pairs = [(work(), least()) for _ in range(rounds)]
    return middle([one for one, _ in pairs]), middle([other for _, other in pairs])


def middle(costs: Iterable[Cost]) -> Cost:
    """The medians."""
    found = list(costs)
    return Cost(median(one.wall for one in found), median(one.cpu for one in found))
