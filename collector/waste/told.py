"""The idle windows of a container's partition in an hour, as the row tells them that sums its lines: as texts."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from gputally.collector.waste.part import Use
from gputally.collector.waste.spell import Window

TOLD = ("idle_at", "idle_for", "idle_each", "idle_memory", "used_at")
_MEMORY = (0, 1, None)  # by its digit


class Told(NamedTuple):
    """Numbers with blanks between them, microseconds from the start of the hour: where each idle window begins, its
    length, its idle time, whether a process held memory in it (0 no, 1 yes, 2 unknown); and where used windows
    begin."""

    idle_at: str
    idle_for: str
    idle_each: str
    idle_memory: str
    used_at: str


def windows_of(told: Told, hour_us: int, use: Use | None) -> list[Window]:
    """The windows, in order, with those as one that touch and are alike, on the same side of the pod's `use`: what a
    part is made of is the same. Of used windows that nothing idle lies between there is one, without amounts."""
    starts, lengths, each, memory = _in_order([[*map(int, text.split())] for text in told[:4]])
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    used = sorted(map(int, told.used_at.split()))
    found: list[Window] = []
    until = -1
    for first, last in pairwise(_cuts(starts, ends, memory, hour_us, use)):
        found += _used_between(used, until, starts[first], hour_us)
        until = ends[last - 1]
        idle_us = sum(each[first:last])
        found.append(Window(hour_us + starts[first], hour_us + until, 0, idle_us, _MEMORY[memory[first]]))
    return [*found, *_used_between(used, until, starts[-1] + 2**62, hour_us)]


def _in_order(columns: Sequence[list[int]]) -> Sequence[list[int]]:
    """By the first one; they nearly always are."""
    starts = columns[0]
    if all(a < b for a, b in pairwise(starts)):
        return columns
    order = sorted(range(len(starts)), key=starts.__getitem__)
    return [[column[at] for at in order] for column in columns]


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


def _used_between(used: Sequence[int], from_us: int, until_us: int, hour_us: int) -> Iterator[Window]:
    """The first used window that begins between two instants, if there is one."""
    at = bisect_left(used, from_us)
    if at < len(used) and used[at] < until_us:
        yield Window(hour_us + used[at], hour_us + used[at], 1, 0)
