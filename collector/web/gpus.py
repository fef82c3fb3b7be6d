"""The GPUs: of a fleet node by node, of a few nodes device by device with who has it, as of each newest window."""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache, partial
from itertools import groupby
from typing import NamedTuple

from pydantic import Field
from sqlalchemy import Connection

from gputally.accounting.states import OwnerKind, State
from gputally.collector.now import names
from gputally.collector.now.latest import Standing, read_latest
from gputally.collector.now.nodes import NodeNow, read_nodes_now
from gputally.collector.web import links, words
from gputally.collector.web.asked import Asked, Name, Parameters
from gputally.collector.web.bars import Bar, bar_now
from gputally.collector.web.nodes import Only, Sort, choices, fits, ordered, table
from gputally.collector.web.page import Page

IN_DETAIL = 16  # as many nodes are shown GPU by GPU; of more, each is a row
_FINEST = 128  # into how many parts a device may be divided
_ROUNDING = Fraction(1, 10**6)  # the parts of a window are whole microseconds


class GpusParameters(Parameters):
    """What the GPUs can be asked."""

    cluster: Name | None = None
    node: Name | None = None
    only: Only | None = None
    sort: Sort = Sort.NAME
    page: int = Field(default=1, ge=1, le=10_000)


class Found(NamedTuple):
    """The nodes that were asked for, those of them that are shown, and their parts where they are shown one by one."""

    nodes: Sequence[NodeNow]
    chosen: Sequence[NodeNow]
    parts: Sequence[Standing]


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
    found = await asked.service.read(partial(_read, asked, given))
    parts = {of: list(each) for of, each in groupby(found.parts, key=lambda one: one.part.node_id)}
    link = partial(_link, given)
    alone = given.node is not None and bool(parts)  # so many clusters may have a node of that name that they are rows
    values = {
        "sums": _sums([one for one in found.nodes if not one.silent(asked.now_us)]),
        "table": None if alone else table(found.chosen, given.page, given.sort, given.only, asked, link),
        "choices": None if alone else choices(found.nodes, given.only, given.sort, asked.now_us, link),
        "nodes": [_node(parts[one.id], asked) for one in found.chosen if one.id in parts],
        "size": _size(found.nodes),
        **asked.frame,
        "whole": asked.scope.whole,
        "given": given,
    }
    return Page("gpus.html", f"GPUs of {given.node}" if given.node else "GPUs", links.GPUS, values)


def _read(asked: Asked, given: GpusParameters, connection: Connection) -> Found:
    everyone = read_nodes_now(connection, asked.now_us, asked.scope)
    nodes = [one for one in everyone if _fits(one, given)]
    chosen = ordered((one for one in nodes if fits(one, given.only, asked.now_us)), given.sort, asked.now_us)
    if len(chosen) > IN_DETAIL:
        return Found(nodes, chosen, ())
    return Found(nodes, chosen, read_latest(connection, asked.now_us, asked.scope, nodes=[one.id for one in chosen]))


def _fits(one: NodeNow, given: GpusParameters) -> bool:
    return given.cluster in (None, one.cluster) and given.node in (None, one.name)


def _link(given: GpusParameters, only: Only | None, sort: Sort, page: int) -> str:
    """The same with others of what is chosen by links; without what is a default."""
    number = str(page) if page > 1 else None
    by = None if sort is Sort.NAME else sort.value
    named = {"cluster": given.cluster, "node": given.node}
    return links.link(links.GPUS, **named, only=only and only.value, sort=by, page=number)


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
        bar_now(one.amounts.by_state, length_us),
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


def _size(nodes: Sequence[NodeNow]) -> str:
    """How many there are; empty where there are none."""
    gpus = words.number(sum(one.gpus for one in nodes), "GPU")
    return f"{gpus} on {words.number(len(nodes), 'node')}" if nodes else ""


def _sums(nodes: Sequence[NodeNow]) -> list[tuple[str, str, str]]:
    """GPUs by what they are now: (state, GPUs, part of all); of no node nothing is known."""
    if not nodes:
        return [(state.value, words.UNKNOWN, "") for state in State]
    times = [sum(of_state) for of_state in zip(*(one.states_us for one in nodes), strict=True)]
    columns = zip(State, words.hours(times), times, strict=True)
    return [(state.value, text, words.percent(us, sum(times))) for state, text, us in columns]
