"""The time of devices that no accepted window covers: a window that is accepted takes its part out of a row.

The rows are a function of the accepted windows, whatever their order: a device has one row before its first window, one
between any two that do not touch, and one after its last. They change under the node's row lock, in the transaction
that accepts the windows.

Devices of a node mostly have the same gaps and are covered by the same windows. Those that do are read, divided and
written together, as a bundle.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, Select, bindparam, delete, exists, func, select

from gputally.accounting.gap import Span
from gputally.accounting.keys import WHOLE_GPU
from gputally.collector.database.among import among
from gputally.collector.database.built import built_once
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema import node, window_device
from gputally.collector.database.schema_billing import node_presence
from gputally.collector.database.schema_gaps import FOREVER_US, gap
from gputally.collector.ingest.bulk import upsert_rows
from gputally.collector.ledger.holders import profiles_of
from gputally.collector.ledger.marks import Mark, marks_of
from gputally.collector.ledger.moves import Edge, known_in_two_places, left_behind
from gputally.collector.ledger.state import State

Devices: TypeAlias = frozenset[int]
_BEGINNING_US = 0  # where the gap before a device's first window begins
WATCHED = select(node.c.id).where(
    exists().where(node_presence.c.cluster == node.c.cluster, node_presence.c.node == node.c.name)
)
_FACTS = select(
    window_device.c.device_id, window_device.c.window_id, window_device.c.unavailable_end, window_device.c.holders_end
)
_DROP = delete(gap).where(
    gap.c.node_id == bindparam("of_node"),
    gap.c.end_us == bindparam("ending"),
    gap.c.device_id == bindparam("of_device"),
)


class Covered(NamedTuple):
    """The time of some devices that an accepted window covers."""

    node_id: int
    devices: Devices
    window_id: int
    start_us: int
    end_us: int


class Skip(NamedTuple):
    """Wall time that a forward step of a node's clock skipped: no gap of any of its devices."""

    node_id: int
    start_us: int
    end_us: int


class _Gap(NamedTuple):
    start_us: int
    end_us: int
    before_id: int | None = None
    after_id: int | None = None


@dataclass(slots=True)
class _Bundle:
    """Devices of a node with the same gaps, as far as these end after some instant, in order; `covered` is what new
    windows cover of them, `stepped` are the gaps that a clock stepped in."""

    node_id: int
    devices: Devices
    rows: list[_Gap]
    covered: Sequence[Covered]
    stepped: list[Span] = field(default_factory=list)

    def take(self, covered: Covered) -> None:
        """Take a window's time out of the gap that holds it."""
        rows = self.rows
        if not rows:
            rows.append(_Gap(_BEGINNING_US, FOREVER_US))
        at = len(rows) - 1
        if rows[at].start_us > covered.start_us:  # a window that is not the newest of its device
            at = bisect_left(rows, covered.end_us, key=_end)
        row = rows[at]
        if row.start_us > covered.start_us:
            raise ValueError(f"no gap of {sorted(self.devices)} holds the accepted window {covered.window_id}")
        parts = []
        if row.start_us < covered.start_us:
            parts.append(_Gap(row.start_us, covered.start_us, row.before_id, covered.window_id))
        if covered.end_us < row.end_us:
            parts.append(_Gap(covered.end_us, row.end_us, covered.window_id, row.after_id))
        rows[at : at + 1] = parts

    def touch(self, skip: Skip) -> None:
        """A step of the clock shortens the gaps that it lies in."""
        near = (row for row in self.rows if row.before_id is not None)
        self.stepped += [
            (row.start_us, row.end_us) for row in near if row.start_us < skip.end_us and skip.start_us < row.end_us
        ]


_start, _end = attrgetter("start_us"), attrgetter("end_us")
_Place: TypeAlias = tuple[int, Devices, _Gap]  # a node, some of its devices, and a gap of each
_Found: TypeAlias = tuple[Devices, _Gap]


def fill(
    connection: Connection,
    covered: Sequence[Covered],
    skips: Sequence[Skip],
    zone: tzinfo,
    oldest_us: int,
    state: State,
) -> set[Mark]:
    """Take the time of new windows out of the gaps; which hours are to be recomputed because of it.

    Hours that end before `oldest_us` are as they are: their lines may be gone. The nodes' rows must be locked, and
    `state` be shared with this transaction.
    """
    if not covered and not skips:
        return set()
    bundles = _read(connection, covered, skips)
    old = _places(bundles)
    for bundle in bundles:
        for part in sorted(bundle.covered, key=_start):
            bundle.take(part)
        for skip in skips:
            if bundle.node_id == skip.node_id:
                bundle.touch(skip)
    new = _places(bundles)
    _write(connection, old - new, new - old)
    stepped = {(bundle.node_id, span) for bundle in bundles for span in bundle.stepped}
    spans = _changed(connection, old, new, stepped, state)
    oldest_us = max(oldest_us, state.lines_from_us)
    return {mark for node_id, span in spans for mark in marks_of(node_id, span, zone, oldest_us)}


def _places(bundles: Iterable[_Bundle]) -> set[_Place]:
    return {(bundle.node_id, bundle.devices, row) for bundle in bundles for row in bundle.rows}


def _changed(
    connection: Connection, old: set[_Place], new: set[_Place], stepped: set[tuple[int, Span]], state: State
) -> set[tuple[int, Span]]:
    """The nodes, and where what is booked of their gaps is another now: before a device's first window nothing is."""
    moved = _moved_ends(connection, old - new, new - old, state)
    others = (old ^ new) - {place for pair in moved for place in pair}
    touched = stepped | {(node_id, _span(row)) for node_id, _, row in others if row.before_id is not None}
    touched |= set(left_behind(connection, _edges(_ends(old) ^ _ends(new))))
    late = {node_id for node_id, span in touched if _is_open(span, state)} | {place[0] for place, _ in moved}
    watched = _watched(connection, late)
    spans = {(node_id, booked(span, state, watched=node_id in watched)) for node_id, span in touched}
    for (node_id, _, before), (_, _, after) in moved:
        pair = (booked(_span(row), state, watched=node_id in watched) for row in (before, after))
        spans |= {(node_id, span) for span in apart(*pair)}
    return spans


def _moved_ends(
    connection: Connection, gone: Iterable[_Place], new: Iterable[_Place], state: State
) -> list[tuple[_Place, _Place]]:
    """The open gaps of bundles that are booked already, before and after, where only their time is another now.

    An open gap is the platform's, without energy: all that its hours get of it is its time, and two facts of the window
    before it. A device that is known in two places, and who shares a bundle with it, is left out: its gaps end where it
    is seen in the other.
    """
    opened = {place[:2]: place for place in new if _is_open(_span(place[2]), state)}
    late = [(place, opened[place[:2]]) for place in gone if place[:2] in opened and _is_silent(place[2])]
    if not late:
        return []
    facts = _facts(connection, {row.before_id for pair in late for *_, row in pair if row.before_id is not None})
    elsewhere = known_in_two_places(connection, {device_id for (_, devices, _), _ in late for device_id in devices})

    def is_same(device_id: int, before: _Gap, after: _Gap) -> bool:
        return device_id not in elsewhere and facts[device_id, before.before_id] == facts[device_id, after.before_id]

    return [pair for pair in late if all(is_same(device_id, pair[0][2], pair[1][2]) for device_id in pair[0][1])]


def apart(one: Span, other: Span) -> Iterator[Span]:
    """The time that is in one of two spans, and not in both."""
    (a, b), (c, d) = one, other
    yield from ((min(a, c), max(a, c)), (min(b, d), max(b, d))) if max(a, c) < min(b, d) else (one, other)


def _span(row: _Gap) -> Span:
    return row.start_us, row.end_us


def _is_silent(row: _Gap) -> bool:
    return row.end_us == FOREVER_US and row.before_id is not None


def _facts(connection: Connection, windows: set[int]) -> dict[tuple[int, int | None], tuple[bool, str]]:
    """Of devices in windows what the hours of an open gap behind them get from there, by ids of both: whether it was
    unavailable, and the profile of who held it whole."""
    query = _FACTS.where(among(connection, window_device.c.window_id, "windows"))
    found = connection.execute(query, {"windows": sorted(windows)})
    return {
        (device_id, window_id): (bool(unavailable), profiles_of(holders).get(WHOLE_GPU, ""))
        for device_id, window_id, unavailable, holders in found
    }


def _ends(places: Iterable[_Place]) -> set[tuple[int, Devices, int]]:
    """Where windows begin that end a gap; a healthy device has one, its first."""
    return {(node_id, devices, row.end_us) for node_id, devices, row in places if row.end_us != FOREVER_US}


def _edges(ends: Iterable[tuple[int, Devices, int]]) -> set[Edge]:
    return {(node_id, device_id, end_us) for node_id, devices, end_us in ends for device_id in devices}


def booked(span: Span, state: State, *, watched: bool) -> Span:
    """The part of a gap in which something can be booked: an open one of a node that nobody watches ends where the
    node counts as absent. Whatever lies beyond, years perhaps, need not be recomputed."""
    start_us, end_us = closed(span, state)
    is_limited = span[1] == FOREVER_US and not watched
    return start_us, min(end_us, start_us + state.absent_after_us) if is_limited else end_us


def _is_open(span: Span, state: State) -> bool:
    return span[1] == FOREVER_US and span[0] < state.booked_until_us


def _watched(connection: Connection, nodes: set[int]) -> set[int]:
    """Those of some nodes of which the cluster says when they were there."""
    if not nodes:
        return set()
    query = WATCHED.where(among(connection, node.c.id, "nodes"))
    return set(connection.execute(query, {"nodes": sorted(nodes)}).scalars())


def closed(span: Span, state: State) -> Span:
    """A gap, up to where it may be booked if it is still open."""
    return (span[0], state.booked_until_us) if span[1] == FOREVER_US else span


@built_once
def _near(connection: Connection) -> Select[*tuple[Any, ...]]:
    """Gaps that are alike with their devices together."""
    row = (gap.c.node_id, gap.c.start_us, gap.c.end_us, gap.c.before_id, gap.c.after_id)
    devices = func.group_concat if is_sqlite(connection) else func.array_agg
    near = select(devices(gap.c.device_id), *row).where(gap.c.end_us > bindparam("first"))
    return near.where(among(connection, gap.c.node_id, "nodes")).group_by(*row)


def _read(connection: Connection, covered: Sequence[Covered], skips: Sequence[Skip]) -> list[_Bundle]:
    """What there is of the devices of these nodes, and what they will be covered by."""
    parts: Sequence[Covered | Skip] = (*covered, *skips)
    nodes = {part.node_id for part in parts}
    near = {"nodes": sorted(nodes), "first": min(part.start_us for part in parts)}
    found: defaultdict[int, list[_Found]] = defaultdict(list)
    for devices, node_id, *row in connection.execute(_near(connection), near):
        found[node_id].append((_devices(devices), _Gap(*row)))
    covers: defaultdict[int, list[Covered]] = defaultdict(list)
    for part in covered:
        covers[part.node_id].append(part)
    return [bundle for node_id in nodes for bundle in _bundles(node_id, found[node_id], covers[node_id])]


def _devices(found: str | Iterable[int]) -> Devices:
    return frozenset(map(int, found.split(",")) if isinstance(found, str) else found)


def _bundles(node_id: int, gaps: Sequence[_Found], covered: Sequence[Covered]) -> Iterator[_Bundle]:
    sets = [*(devices for devices, _ in gaps), *(part.devices for part in covered)]
    for alike, places in _alike(sets):
        rows = sorted((gaps[at][1] for at in places if at < len(gaps)), key=_end)
        yield _Bundle(node_id, alike, rows, [covered[at - len(gaps)] for at in places if at >= len(gaps)])


def _alike(sets: Sequence[Devices]) -> Iterable[tuple[Devices, Sequence[int]]]:
    """The elements of some sets, in parts as large as can be whose elements are in the same of them; and in which."""
    if len(set(sets)) == 1:
        return [(sets[0], range(len(sets)))]
    places: defaultdict[int, list[int]] = defaultdict(list)
    for at, each in enumerate(sets):
        for element in each:
            places[element].append(at)
    parts: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for element, found in places.items():
        parts[tuple(found)].append(element)
    return [(frozenset(elements), found) for found, elements in parts.items()]


def _write(connection: Connection, gone: set[_Place], new: set[_Place]) -> None:
    kept = {_key(place) for place in new}
    keys = ("of_node", "of_device", "ending")
    dropped = sorted(_edges(key for place in gone if (key := _key(place)) not in kept))
    if dropped:
        connection.execute(_DROP, [dict(zip(keys, edge, strict=True)) for edge in dropped])
    upsert_rows(connection, gap, sorted(_rows(new)), ("node_id", "end_us", "device_id"))


def _key(place: _Place) -> tuple[int, Devices, int]:
    node_id, devices, row = place
    return node_id, devices, row.end_us


def _rows(places: Iterable[_Place]) -> Iterator[tuple[int | None, ...]]:
    """Rows of the table, in the order of its columns."""
    for node_id, devices, row in places:
        for device_id in devices:
            yield node_id, row.end_us, device_id, row.start_us, row.before_id, row.after_id
