"""The table of nodes: what each one's GPUs are doing now, for a fleet that is too large to be shown GPU by GPU."""

import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from gputally.accounting.states import State
from gputally.collector.now.nodes import NodeNow
from gputally.collector.web import links, words
from gputally.collector.web.asked import Asked
from gputally.collector.web.bars import Bar, bar_now
from gputally.collector.web.usage import Heading

NODES_A_PAGE = 50
_NUMBERS = re.compile(r"(\D*)(\d{0,18})", re.ASCII)
_FREE, _LOST = list(State).index(State.UNALLOCATED), list(State).index(State.UNAVAILABLE)


class Only(StrEnum):
    """Which nodes alone are shown: those that have some of it."""

    IDLE = "idle"
    FREE = "unallocated"
    LOST = "unavailable"
    SILENT = "silent"


class Sort(StrEnum):
    """What comes first: the most, the longest silent, or by name."""

    NAME = "name"
    GPUS = "gpus"
    IDLE = "idle"
    FREE = "unallocated"
    LOST = "unavailable"
    SEEN = "seen"


Link = Callable[[Only | None, Sort, int], str]


class Row(NamedTuple):
    """A node in words. `silent`: it has said nothing for a while, so nothing of it is known now."""

    cluster: str
    name: str
    href: str
    gpus: str
    model: str
    bar: Bar
    idle: str
    free: str
    lost: str
    seen: words.Moment
    silent: bool


class Table(NamedTuple):
    """A page of nodes: `first` to `last` of `number`, with the ways to the pages around it."""

    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    first: int
    last: int
    number: int
    earlier: str | None
    later: str | None


class Choice(NamedTuple):
    """A way to some of the nodes, and how many they are."""

    text: str
    href: str
    chosen: bool


def ordered(nodes: Iterable[NodeNow], sort: Sort, now_us: int) -> list[NodeNow]:
    """The nodes in order; equal ones as people count: node-2 before node-10."""
    return sorted(nodes, key=lambda one: (*_ORDERS[sort](one, now_us), one.cluster, _counted(one.name), one.name))


def _counted(name: str) -> tuple[tuple[str, int], ...]:
    return tuple((text, int(digits or 0)) for text, digits in _NUMBERS.findall(name))


def table(nodes: Sequence[NodeNow], page: int, sort: Sort, only: Only | None, asked: Asked, link: Link) -> Table:
    """A page of nodes that are in order; past the last it is the last, as a fleet shrinks."""
    page = min(page, max(1, -(-len(nodes) // NODES_A_PAGE)))
    first = (page - 1) * NODES_A_PAGE
    shown = nodes[first : first + NODES_A_PAGE]
    return Table(
        _headings(sort, only, link),
        tuple(_rows(shown, asked)),
        first + 1,
        first + len(shown),
        len(nodes),
        link(only, sort, page - 1) if page > 1 else None,
        link(only, sort, page + 1) if len(nodes) > first + NODES_A_PAGE else None,
    )


def choices(nodes: Sequence[NodeNow], only: Only | None, sort: Sort, now_us: int, link: Link) -> list[Choice]:
    """Ways to all nodes, and to some; none leads to nothing, but where one stands there."""
    found = []
    for one, text in _CHOICES.items():
        count = sum(fits(node, one, now_us) for node in nodes)
        if count or one in (None, only):
            found.append(Choice(f"{text} {count:,}", link(one, sort, 1), one is only))
    return found


_CHOICES = {
    None: "All nodes:",
    Only.IDLE: "With GPUs held idle:",
    Only.FREE: "With unallocated ones:",
    Only.LOST: "With unavailable ones:",
    Only.SILENT: "Silent:",
}


def fits(one: NodeNow, only: Only | None, now_us: int) -> bool:
    """Whether a node is among those that are chosen; of one that is silent nothing is known now."""
    if only is None:
        return True
    if only is Only.SILENT or one.silent(now_us):
        return only is Only.SILENT and one.silent(now_us)
    return _OF[only](one) > 0


_OF: dict[Only, Callable[[NodeNow], int]] = {
    Only.IDLE: lambda one: one.held_idle_us,
    Only.FREE: lambda one: one.states_us[_FREE],
    Only.LOST: lambda one: one.states_us[_LOST],
}


def _rows(nodes: Sequence[NodeNow], asked: Asked) -> list[Row]:
    columns = [words.hours(list(map(of, nodes))) for of in _OF.values()]
    return [_row(one, texts, asked) for one, *texts in zip(nodes, *columns, strict=True)]


def _row(one: NodeNow, texts: Sequence[str], asked: Asked) -> Row:
    silent = one.silent(asked.now_us)
    idle, free, lost = [words.UNKNOWN] * len(texts) if silent else texts
    return Row(
        one.cluster,
        one.name,
        links.link(links.GPUS, cluster=one.cluster, node=one.name),
        str(one.gpus),
        one.model or "several models",
        bar_now(one.states_us, sum(one.states_us)),
        *(idle, free, lost),
        words.moment(one.end_us, asked.zone),
        silent,
    )


def _headings(sort: Sort, only: Only | None, link: Link) -> tuple[Heading, ...]:
    texts = {
        Sort.NAME: "Node",
        Sort.GPUS: "GPUs",
        Sort.IDLE: "Held idle",
        Sort.FREE: "Unallocated",
        Sort.LOST: "Unavailable",
        Sort.SEEN: "Newest window",
    }
    up = (Sort.NAME, Sort.SEEN)
    return tuple(
        Heading(
            text,
            link(only, one, 1),
            ("ascending" if one in up else "descending") if one is sort else "",
            one not in up,
        )
        for one, text in texts.items()
    )


_ORDERS: dict[Sort, Callable[[NodeNow, int], tuple[int, ...]]] = {
    Sort.NAME: lambda _one, _now_us: (),
    Sort.GPUS: lambda one, _now_us: (-one.gpus,),
    Sort.IDLE: lambda one, now_us: (_most(one, Only.IDLE, now_us),),
    Sort.FREE: lambda one, now_us: (_most(one, Only.FREE, now_us),),
    Sort.LOST: lambda one, now_us: (_most(one, Only.LOST, now_us),),
    Sort.SEEN: lambda one, _now_us: (one.end_us,),
}


def _most(one: NodeNow, only: Only, now_us: int) -> int:
    """What is not known now comes last."""
    return 1 if one.silent(now_us) else -_OF[only](one)
