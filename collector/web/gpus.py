"""The GPUs: node, device, partition, and who has it, as of each node's newest window."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache, partial
from itertools import groupby
from typing import NamedTuple

from pydantic import Field
from sqlalchemy import Connection

from gputally.accounting.states import OwnerKind, State
from gputally.collector.now import names
from gputally.collector.now.capacity import by_state
from gputally.collector.now.latest import Standing, read_latest
from gputally.collector.web import links, words
from gputally.collector.web.asked import Asked, Name, Parameters
from gputally.collector.web.bars import Bar, bar
from gputally.collector.web.page import Page

NODES_A_PAGE = 16  # 128 GPUs: more take longer to draw than to read, for the whole fleet's sums
_FINEST = 128  # into how many parts a device may be divided
_ROUNDING = Fraction(1, 10**6)  # the parts of a window are whole microseconds


class GpusParameters(Parameters):
    """What the GPUs can be asked."""

    cluster: Name | None = None
    node: Name | None = None
    page: int = Field(default=1, ge=1, le=10_000)


class Part(NamedTuple):
    """A part of a device and who has it; `href` leads to the namespace."""

    partition: str
    holder: str
    href: str | None
    detail: str
    share: str
    state: str
    bar: Bar
    memory: str


class Device(NamedTuple):
    """A GPU and its parts."""

    uuid: str
    model: str
    parts: tuple[Part, ...]


class Node(NamedTuple):
    """A node; `silent`: it has said nothing for a while, and what is shown is what it said last."""

    cluster: str
    name: str
    href: str
    seen: words.Moment
    silent: bool
    devices: tuple[Device, ...]


async def gpus(asked: Asked) -> Page:
    """The page; raises QueryMistakes."""
    given = asked.parameters(GpusParameters)
    found = await asked.service.read(partial(_read, asked))
    nodes = [list(of_node) for _, of_node in groupby(found, key=lambda one: (one.cluster, one.node)) if of_node]
    chosen = [of_node for of_node in nodes if _fits(of_node[0], given)]
    first = (given.page - 1) * NODES_A_PAGE
    values = {
        "nodes": [_node(of_node, asked) for of_node in chosen[first : first + NODES_A_PAGE]],
        "sums": _sums(one for of_node in chosen for one in of_node if not one.silent(asked.now_us)),
        "count": len(chosen),
        "earlier": _paged(given, given.page - 1) if given.page > 1 else None,
        "later": _paged(given, given.page + 1) if len(chosen) > first + NODES_A_PAGE else None,
        **asked.frame,
        "whole": asked.scope.whole,
        "node": given.node,
    }
    return Page("gpus.html", f"GPUs of {given.node}" if given.node else "GPUs", links.GPUS, values)


def _read(asked: Asked, connection: Connection) -> Sequence[Standing]:
    return read_latest(connection, asked.now_us, asked.scope)


def _fits(one: Standing, given: GpusParameters) -> bool:
    return given.cluster in (None, one.cluster) and given.node in (None, one.node)


def _paged(given: GpusParameters, number: int) -> str:
    return links.link(links.GPUS, cluster=given.cluster, node=given.node, page=str(number) if number > 1 else None)


def _node(standings: Sequence[Standing], asked: Asked) -> Node:
    first = standings[0]
    devices = [list(of_device) for _, of_device in groupby(standings, key=lambda one: one.uuid)]
    return Node(
        first.cluster,
        first.node,
        links.link(links.GPUS, cluster=first.cluster, node=first.node),
        words.moment(first.end_us, asked.zone),
        first.silent(asked.now_us),
        tuple(_device(each) for each in devices),
    )


def _device(standings: Sequence[Standing]) -> Device:
    told = sorted((one for one in standings if _tells(one)), key=_order)
    return Device(standings[0].uuid, standings[0].model, tuple(_part(one) for one in told))


def _order(one: Standing) -> tuple[int, Fraction, str, str]:
    """Who holds the most comes first, then who runs without holding, and last what nobody has."""
    kinds = (OwnerKind.POD, OwnerKind.HOST, OwnerKind.PLATFORM)
    return kinds.index(one.kind), -one.share, one.namespace, one.pod


def _part(one: Standing) -> Part:
    length_us = one.end_us - one.start_us
    free = one.kind is OwnerKind.PLATFORM
    return Part(
        names.partition(one),
        names.holder(one),
        links.namespace(one.namespace) if one.kind is OwnerKind.POD else None,
        "" if free else f"{one.pod} / {one.container}" if one.kind is OwnerKind.POD else "outside pods",
        share(one.share),
        _state(one),
        bar(one.amounts, length_us),
        words.memory(one.memory_byte_s, length_us) if not free or one.memory_byte_s else "",
    )


@lru_cache(maxsize=1024)
def share(part: Fraction) -> str:
    """A part of a device as it is divided: 1/4, 3/7; a decimal where time was cut otherwise."""
    near = part.limit_denominator(_FINEST)
    return str(near) if abs(near - part) < _ROUNDING else names.count(part)


def _tells(one: Standing) -> bool:
    """Nobody's part of no time at all is left out: it is where a shared GPU's overhead is booked."""
    return one.kind is not OwnerKind.PLATFORM or one.amounts.capacity_us > 0


def _state(one: Standing) -> str:
    """What it is mostly, with the part that was used where it is held."""
    if one.state is State.USED:
        return f"used {words.percent(one.amounts.used_us, one.measured_us)}"
    return one.state.value if one.state else "runs in another's time"


def _sums(standings: Iterable[Standing]) -> list[tuple[str, str, str]]:
    """GPUs by what they are now: (state, GPUs, part of all)."""
    times = by_state(standings)
    texts = words.hours(times)
    columns = zip(State, texts, times, strict=True)
    return [(state.value, text, words.percent(us, sum(times))) for state, text, us in columns]
