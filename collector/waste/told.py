"""The idle windows of a container's partition in an hour, as the row tells them that sums its lines."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from gputally.collector.waste.part import Use
from gputally.collector.waste.spell import UNOBSERVED_US, Window

_MEMORY = (0, 1, None)  # by its digit


class Told(NamedTuple):
    """Of each idle window where it begins from the start of the hour, its length, its idle time, all in microseconds,
    and whether a process held memory in it (0 no, 1 yes, 2 unknown); and from when to when the partition was used."""

    idle: Sequence[Sequence[int]]
    used: Use | None


def windows_of(told: Told, hour_us: int, use: Use | None) -> list[Window] | None:
    """Windows, in order, that make the same part: of idle ones those as one that touch and are alike, on the same side
    of the pod's `use`; of used ones, without amounts, one before the idle ones and one after them, where there are.

    None where the row does not tell: two idle windows are of one spell or not by whether a used one lies between them,
    which matters where little time does.
    """
    starts, lengths, each, memory = zip(*sorted(told.idle, key=lambda row: row[0]), strict=True)
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    if _is_unclear(starts, ends, hour_us, told.used):
        return None
    found: list[Window] = []
    if told.used and told.used.first_us < hour_us + starts[0]:
        found.append(Window(told.used.first_us, told.used.first_us, 1, 0))
    for first, last in pairwise(_cuts(starts, ends, memory, hour_us, use)):
        span = hour_us + starts[first], hour_us + ends[last - 1]
        found.append(Window(*span, 0, sum(each[first:last]), _MEMORY[memory[first]]))
    if told.used and told.used.last_us > hour_us + ends[-1]:
        found.append(Window(told.used.last_us, told.used.last_us, 1, 0))
    return found


def _is_unclear(starts: Sequence[int], ends: Sequence[int], hour_us: int, used: Use | None) -> bool:
    """Windows that overlap, as only a strange agent has them, are looked at one by one, too."""
    for end, start in zip(ends, starts[1:], strict=False):
        if start < end:
            return True
        if (
            end < start <= end + UNOBSERVED_US
            and used
            and used.first_us < hour_us + start
            and hour_us + end < used.last_us
        ):
            return True
    return False


def _cuts(
    starts: Sequence[int], ends: Sequence[int], memory: Sequence[int], hour_us: int, use: Use | None
) -> Sequence[int]:
    """Where windows are not as the ones before them, and both ends."""
    cuts = {0, len(starts)}
    cuts.update(at for at, (end, start) in enumerate(zip(ends, starts[1:], strict=False), 1) if end != start)
    if memory.count(memory[0]) != len(memory):
        cuts.update(at for at, (a, b) in enumerate(pairwise(memory), 1) if a != b)
    if use is not None:
        cuts |= {bisect_right(ends, use.first_us - hour_us), bisect_left(starts, use.last_us - hour_us)}
    return sorted(cuts)
