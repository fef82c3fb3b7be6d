"""The idle time of one posting: how it lies to its pod's use in that hour, and how much of it is in long spells."""

from collections.abc import Sequence
from typing import NamedTuple

from gputally.collector.waste.spell import Spell, Spells, Window, spells

HEAD, TAIL = 1, 2  # which spells of an hour are long only together with the neighbour's


class Use(NamedTuple):
    """A stretch of use, from the start of the first window with any to the end of the last one."""

    first_us: int
    last_us: int


class Part(NamedTuple):
    """A row of `idle_part` without its key; microseconds.

    Without any use of the pod in the hour (`used_first_us` None), all is `after`.
    """

    idle_us: int
    before_us: int
    before_forgotten_us: int
    middle_forgotten_us: int
    after_us: int
    after_forgotten_us: int
    after_deserted_us: int
    used_first_us: int | None = None
    used_last_us: int | None = None
    head_from_us: int | None = None
    head_until_us: int | None = None
    tail_from_us: int | None = None
    tail_until_us: int | None = None
    linked: int = 0

    @property
    def use(self) -> Use | None:
        """The pod's use in the hour."""
        if self.used_first_us is None or self.used_last_us is None:
            return None
        return Use(self.used_first_us, self.used_last_us)

    @property
    def head(self) -> Spell | None:
        """The spell that may be one with the tail of the hour before."""
        return _spell(self.head_from_us, self.head_until_us)

    @property
    def tail(self) -> Spell | None:
        """The spell that may be one with the head of the hour after."""
        return _spell(self.tail_from_us, self.tail_until_us)


def links(head: Spell | None, tail: Spell | None, before: Spell | None, after: Spell | None) -> int:
    """Which of an hour's head and tail are long only with the tail of the hour before and the head of that after."""
    found = 0
    if head and before and not head.is_long and before.meets(head) and before.joined(head).is_long:
        found |= HEAD
    if tail and after and not tail.is_long and tail.meets(after) and tail.joined(after).is_long:
        found |= TAIL
    return found


def part_of(
    windows: Sequence[Window], use: Use | None, before: Spell | None = None, after: Spell | None = None
) -> Part:
    """The part of an hour's windows, in order. `use` is the pod's in that hour; `before` the tail of the hour before,
    `after` the head of the hour after."""
    found = spells(windows)
    return _part(windows, found, use, links(found.head, found.tail, before, after))


def relinked(part: Part, windows: Sequence[Window], linked: int) -> Part:
    """The part of the same windows where other neighbours are known."""
    return _part(windows, spells(windows), part.use, linked)


_IDLE = Part._fields[:7]


def _part(windows: Sequence[Window], found: Spells, use: Use | None, linked: int) -> Part:
    long = _long(found, linked)
    sums = dict.fromkeys(_IDLE, 0)
    at = 0
    for window in windows:
        while at < len(long) and long[at].until_us <= window.start_us:
            at += 1
        in_long = window.is_idle and at < len(long) and long[at].from_us <= window.start_us
        for name in _names(_place(window, use), window, in_long=in_long):
            sums[name] += window.idle_us
    return Part._make((*sums.values(), *_edges(use, found), linked))


def _spell(from_us: int | None, until_us: int | None) -> Spell | None:
    return None if from_us is None or until_us is None else Spell(from_us, until_us)


def _long(found: Spells, linked: int) -> list[Spell]:
    by_link = [found.head] * bool(linked & HEAD) + [found.tail] * bool(linked & TAIL)
    return [spell for spell in found.all if spell.is_long or spell in by_link]


def _place(window: Window, use: Use | None) -> str:
    """A window that anything was used in lies in the middle, as a whole."""
    if use is None or window.start_us >= use.last_us:
        return "after"
    return "before" if window.end_us <= use.first_us else "middle"


def _names(place: str, window: Window, *, in_long: bool) -> list[str]:
    """The columns that a window's idle time counts in."""
    names = ["idle_us"] if place == "middle" else ["idle_us", f"{place}_us"]
    if in_long and window.memory_byte_s:
        names.append(f"{place}_forgotten_us")
    if in_long and window.memory_byte_s == 0 and place == "after":
        names.append("after_deserted_us")
    return names


def _edges(use: Use | None, found: Spells) -> list[int | None]:
    """The instants of a part, in its order."""
    nothing = (None, None)
    return [*(use or nothing), *(found.head or nothing), *(found.tail or nothing)]
