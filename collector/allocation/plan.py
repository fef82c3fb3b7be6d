"""Which table answers which stretch of a period, exactly: months and days from their sums, the coarsest that knows
enough, and the rest from postings.

A day or a month is read from its sums where the period holds all of it and neither a step nor a price begins within it.
Where only some namespaces or nodes change within a day, and have time on both sides of that, only they are read from
postings; a month in which a namespace does so is read by its days.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter
from typing import NamedTuple

from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.rates.changes import Changes


class Detail(IntEnum):
    """How much a table knows, the least first."""

    MONTH = 0  # by namespace, of months that are over
    NAMESPACE = 1  # of days that are sealed
    POSTING_DAY = 2
    POSTING = 3


class Summed(NamedTuple):
    """A month or a day whose postings are summed, and the coarsest table that has its sums."""

    start_us: int
    end_us: int
    detail: Detail


class Cut(NamedTuple):
    """Namespaces and nodes, by name, whose price or team changes within a day while they have time in it."""

    day: Summed
    namespaces: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Stretches to read from one table; without what is cut there, or nothing but that."""

    detail: Detail
    spans: tuple[Period, ...]
    without: tuple[Cut, ...] = ()
    only: tuple[Cut, ...] = ()


@dataclass(frozen=True, slots=True)
class Pieces:
    """A period cut at `edges` (ascending, the first its start), so that each sum has one price and one step.

    At `common` everything is cut; at the others only the namespaces and nodes, by name, that change there.
    """

    edges: tuple[int, ...]
    common: tuple[int, ...]
    namespaces: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How a question is answered."""

    pieces: Pieces
    parts: tuple[Part, ...] = field(default_factory=tuple)


_NARROW = frozenset({By.CLUSTER, By.NAMESPACE, By.TEAM, By.MODEL, By.PROFILE, By.KIND, By.STATE})


def detail(keys: Iterable[By], *, by_node: bool = False) -> Detail:
    """The coarsest table that knows these keys, and with `by_node` the node."""
    asked = frozenset(keys)
    if By.SOURCE in asked:  # the least certain of a day says nothing of its hours
        return Detail.POSTING
    return Detail.POSTING_DAY if by_node or not asked <= _NARROW else Detail.NAMESPACE


def pieces(starts: Sequence[int], changes: Changes) -> Pieces:
    """Where a period is cut whose steps begin at `starts`, the first of which is its own start."""
    common = tuple(sorted({*starts, *changes.always}))
    if not changes.namespaces and not changes.nodes:
        return Pieces(common, common)
    edges = tuple(sorted({*common, *changes.all}))
    return Pieces(edges, common, tuple(changes.namespaces), tuple(changes.nodes))


def uncut(period: Period, common: Sequence[int], summed: Iterable[Summed]) -> list[Summed]:
    """The days and months within a period in which no edge lies but at their start."""
    found, edges, at = [], (*common, period.end_us), 0
    for each in sorted(summed):
        while edges[at] <= each.start_us and at < len(edges) - 1:
            at += 1
        if period.start_us <= each.start_us and each.end_us <= edges[at]:
            found.append(each)
    return found


def coarsest(needed: Detail, summed: Iterable[Summed]) -> list[Summed]:
    """Months instead of their days, where they know what is needed; otherwise days alone."""
    found: list[Summed] = []
    by_place = needed <= Detail.NAMESPACE
    for each in sorted(summed, key=attrgetter("start_us", "detail")):
        if (by_place or each.detail is not Detail.MONTH) and (not found or found[-1].end_us <= each.start_us):
            found.append(each)
    return found


def parts(period: Period, needed: Detail, summed: Iterable[Summed], cuts: Sequence[Cut] = ()) -> tuple[Part, ...]:
    """The parts of a period; `summed` are days and months that may be read from sums, `cuts` what must not."""
    if needed is Detail.POSTING:
        return (Part(Detail.POSTING, (period,)),)
    spans: dict[Detail, list[Period]] = {of: [] for of in Detail}
    by_place = needed <= Detail.NAMESPACE
    at = period.start_us
    for each in coarsest(needed, summed):
        _append(spans[Detail.POSTING], Period(at, each.start_us))
        _append(spans[each.detail if by_place else needed], Period(each.start_us, each.end_us))
        at = each.end_us
    _append(spans[Detail.POSTING], Period(at, period.end_us))
    return tuple(_parts(spans, tuple(cuts)))


def _parts(spans: Mapping[Detail, Sequence[Period]], cuts: tuple[Cut, ...]) -> Iterator[Part]:
    for of, found in spans.items():
        if found:
            yield Part(of, tuple(found), without=cuts if of in _OF_DAYS else ())
    if cuts:
        yield Part(Detail.POSTING, tuple(Period(cut.day.start_us, cut.day.end_us) for cut in cuts), only=cuts)


_OF_DAYS = (Detail.NAMESPACE, Detail.POSTING_DAY)


def _append(spans: list[Period], more: Period) -> None:
    """Stretches that touch are one."""
    if more.start_us >= more.end_us:
        return
    if spans and spans[-1].end_us == more.start_us:
        more = Period(spans.pop().start_us, more.end_us)
    spans.append(more)


class Used(NamedTuple):
    """The first and the last ledger hour of a name's time in a day or month."""

    first_us: int
    last_us: int


def within_days(changes: Mapping[str, Sequence[int]], summed: Iterable[Summed]) -> dict[Summed, list[str]]:
    """The days and months within which names change, but at their start, with the names."""
    found: dict[Summed, list[str]] = {}
    for name, instants in changes.items():
        for each in summed:
            if any(each.start_us < us < each.end_us for us in instants):
                found.setdefault(each, []).append(name)
    return found


def is_cut(instants: Iterable[int], used: Used) -> bool:
    """Whether time lies on both sides of one of the instants."""
    return any(used.first_us < us <= used.last_us for us in instants)
