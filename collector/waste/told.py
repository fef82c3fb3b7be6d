"""The idle windows of a container's partition in an hour, as the row tells them that sums its lines."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from gputally.collector.waste.part import Use
from gputally.collector.waste.spell import UNOBSERVED_US, Window

_MEMORY = (0, 1, None)  # by its digit


class Told(NamedTuple):
    """Of each idle window its start, its end, its idle time in microseconds, and whether a process held memory in it
    (0 no, 1 yes, 2 unknown); from when to when the partition was used; and whether idle windows and used ones cover
    all of the time from the first to the last."""

    idle: Iterable[tuple[int, ...]]
    used: Use | None
    is_whole: bool


def windows_of(told: Told, use: Use | None) -> list[Window] | None:
    """Windows, in order, that make the same part: of idle ones those as one that touch and are alike, on the same side
    of the pod's `use`; of used ones, without amounts, one before the idle ones, one after them, and one wherever it is
    known that one lies between them.

    None where the row does not tell: two idle windows are of one spell or not by whether a used one lies between them,
    which matters where little time does.
    """
    starts, ends, each, memory = zip(*sorted(told.idle), strict=True)
    holes = [at for at, (end, start) in enumerate(zip(ends, starts[1:], strict=False), 1) if end != start]
    if any(_is_unclear(ends[at - 1], starts[at], told) for at in holes):
        return None
    found: list[Window] = []
    if told.used and told.used.first_us < starts[0]:
        found.append(_used(told.used.first_us))
    for first, last in pairwise(_cuts(starts, ends, memory, holes, use)):
        if told.is_whole and first in holes:
            found.append(_used(ends[first - 1]))
        found.append(Window(starts[first], ends[last - 1], 0, sum(each[first:last]), _MEMORY[memory[first]]))
    if told.used and told.used.last_us > ends[-1]:
        found.append(_used(told.used.last_us))
    return found


def _used(at_us: int) -> Window:
    return Window(at_us, at_us, 1, 0)


def _is_unclear(end_us: int, start_us: int, told: Told) -> bool:
    """Whether a used window may lie between two idle ones, or not. Windows that overlap, as only a strange agent has
    them, are looked at one by one, too."""
    if start_us < end_us:
        return True
    is_short = start_us <= end_us + UNOBSERVED_US and not told.is_whole
    return is_short and told.used is not None and told.used.first_us < start_us and end_us < told.used.last_us


def _cuts(
    starts: Sequence[int], ends: Sequence[int], memory: Sequence[int], holes: Iterable[int], use: Use | None
) -> Sequence[int]:
    """Where windows are not as the ones before them, and both ends."""
    cuts = {0, len(starts), *holes}
    if memory.count(memory[0]) != len(memory):
        cuts.update(at for at, (a, b) in enumerate(pairwise(memory), 1) if a != b)
    if use is not None:
        cuts |= {bisect_right(ends, use.first_us), bisect_left(starts, use.last_us)}
    return sorted(cuts)
