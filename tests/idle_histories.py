"""Histories of a pod, minute by minute, and what kinds of waste its idle time is when all of it is looked at at once.

A history says of each part, a container's partition, what each minute was. The look here is naive on purpose: it has
all windows before it, knows no hours, and stores nothing.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from hypothesis import strategies as st
from tests.windows import device, unallocated, window

from gputally.accounting.keys import LineKey, Owner
from gputally.accounting.line import Line
from gputally.accounting.line import Window as NodeWindow
from gputally.accounting.states import Basis, OwnerKind, Reason, Source
from gputally.collector.waste.division import Share
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.spell import Window

MINUTE_US = 60_000_000
BEGIN_US = 1_782_864_000_000_000  # 2026-07-01T00:00:00Z
GIB = 1 << 30


class PodPart(NamedTuple):
    """A container's partition."""

    container: str
    partition: str


class Minute(NamedTuple):
    """What a minute was: used and idle microseconds, and the memory that was held; None unknown."""

    used_us: int
    idle_us: int
    memory_bytes: int | None = None


SHARE_US = MINUTE_US // 2  # each part is half a device: two containers may be on one partition
BUSY = Minute(20_000_000, 10_000_000, GIB)
FULL = Minute(SHARE_US, 0, GIB)
FAINT = Minute(200_000, 29_800_000, GIB)  # less than 1 %: idle to a spell, yet use
HOLDING = Minute(0, SHARE_US, GIB)
EMPTY = Minute(0, SHARE_US, 0)
VEILED = Minute(0, SHARE_US, None)
HALF_SEEN = Minute(0, 10_000_000, GIB)
UNSEEN = Minute(0, 0)

History: TypeAlias = Mapping[PodPart, Mapping[int, Minute]]  # by the minute since BEGIN_US; a minute may lack

_PARTS = (PodPart("main", "MIG-1"), PodPart("main", "MIG-3"), PodPart("side", "MIG-3"))
_OFTEN = (BUSY, FAINT, HOLDING, HOLDING, EMPTY, VEILED)
_SELDOM = (FULL, HALF_SEEN, UNSEEN, None)


@st.composite
def histories(draw: st.DrawFn, most_runs: int = 7, last_minute: int = 260) -> History:
    """Runs of minutes that are alike, for one to three parts; a part may begin after the others, and end before."""
    parts = draw(st.lists(st.sampled_from(_PARTS), min_size=1, max_size=3, unique=True))
    begin = draw(st.integers(0, 70))
    return {part: dict(_minutes(draw, begin, most_runs, last_minute)) for part in parts}


def _minutes(draw: st.DrawFn, begin: int, most_runs: int, last_minute: int) -> Iterator[tuple[int, Minute]]:
    at = begin + draw(st.sampled_from([0, 0, 5]))
    for _ in range(draw(st.integers(1, most_runs))):
        often = draw(st.booleans())
        minute = draw(st.sampled_from(_OFTEN if often else _SELDOM))
        for _ in range(draw(st.integers(1, 75) if often else st.integers(1, 4))):
            if minute is not None and at < last_minute:
                yield at, minute
            at += 1


def windows_of(minutes: Mapping[int, Minute]) -> list[Window]:
    """A part's windows, in order."""
    return [
        Window(
            BEGIN_US + at * MINUTE_US,
            BEGIN_US + (at + 1) * MINUTE_US,
            minute.used_us,
            minute.idle_us,
            None if minute.memory_bytes is None else minute.memory_bytes * 60,
        )
        for at, minute in sorted(minutes.items())
    ]


def kinds_at_once(history: History, *, ended: bool) -> dict[PodPart, dict[Kind, Share]]:
    """The kinds of each part's idle time by the words of the page, from all windows at once."""
    used_at = [at for minutes in history.values() for at, minute in minutes.items() if minute.used_us]
    used_partitions = {part.partition for part, minutes in history.items() for one in minutes.values() if one.used_us}
    found: dict[PodPart, dict[Kind, Share]] = {}
    for part, minutes in history.items():
        sums: defaultdict[Kind, Share] = defaultdict(Share)
        long = _long_minutes(minutes)
        for at, minute in minutes.items():
            never = part.partition not in used_partitions
            kind, provisional = _kind(at, minute, used_at, never=never, long=at in long, ended=ended)
            us, provisional_us = sums[kind]
            sums[kind] = Share(us + minute.idle_us, provisional_us + (minute.idle_us if provisional else 0))
        found[part] = {kind: sums[kind] for kind in Kind}
    return found


def _kind(
    at: int, minute: Minute, used_at: Sequence[int], *, never: bool, long: bool, ended: bool
) -> tuple[Kind, bool]:
    if never and (used_at or ended):
        return Kind.OVER_ASKED, not ended
    if not used_at or at < min(used_at):
        return Kind.WAITING, not used_at
    after = at > max(used_at)
    if after and (ended or (long and minute.memory_bytes == 0)):
        return Kind.AFTER, not ended
    return (Kind.FORGOTTEN if long and minute.memory_bytes else Kind.BETWEEN), after


def _long_minutes(minutes: Mapping[int, Minute]) -> set[int]:
    """The idle minutes in spells of half an hour or more."""
    long: set[int] = set()
    spell: list[int] = []
    for at, minute in sorted(minutes.items()):
        if minute.idle_us and minute.used_us * 100 < minute.used_us + minute.idle_us:
            if spell and at - spell[-1] - 1 > 2:
                spell = []
            spell.append(at)
            if spell[-1] + 1 - spell[0] >= 30:
                long.update(spell)
        elif minute.used_us:
            spell = []
    return long


def node_windows(history: History, *, goes_on: bool, node: str = "node-a", pod: str = "train-0") -> list[NodeWindow]:
    """The same as a node's agent sends it: each partition is half of a device of its own, for each of its containers.

    `goes_on`: twenty minutes after the pod's last one a window without it follows.
    """
    last = max((at for minutes in history.values() for at in minutes), default=0)
    minutes = sorted({at for of_part in history.values() for at in of_part} | ({last + 20} if goes_on else set()))
    return [_node_window(history, at, node, pod) for at in minutes]


def _node_window(history: History, at: int, node: str, pod: str) -> NodeWindow:
    devices = []
    for partition in sorted({part.partition for part in history}):
        lines: list[Line] = []
        for part, minutes in history.items():
            if part.partition == partition and at in minutes:
                owner = Owner(OwnerKind.POD, "search", pod, part.container, pod_uid=f"uid-of-{pod}")
                lines += _lines(LineKey("replica", owner, Basis.RESERVATION), minutes[at])
        free_us = MINUTE_US - sum(line.capacity_us for line in lines)
        devices.append(device(*lines, *([unallocated(free_us)] if free_us else []), uuid=f"GPU-{node}-{partition}"))
    return window(*devices, node=node, start_us=BEGIN_US + at * MINUTE_US)


def _lines(key: LineKey, minute: Minute) -> Iterator[Line]:
    memory = None if minute.memory_bytes is None else minute.memory_bytes * 60
    unseen_us = SHARE_US - minute.used_us - minute.idle_us
    if minute.used_us or minute.idle_us:
        yield Line(key, Source.PROCESS_SAMPLES, minute.used_us, minute.idle_us, memory_byte_s=memory)
    if unseen_us:
        yield Line(replace(key, reason=Reason.NO_SAMPLE), Source.NONE, unobserved_us=unseen_us)
