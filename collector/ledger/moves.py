"""A device that moves: where its UUID is seen again, on another node or by another name of its model, its time goes on,
and what is silent behind it ends there.

The instants are ends of gaps, so they are a function of the accepted windows, as the gaps are.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.gap import Span
from gputally.collector.database.among import among
from gputally.collector.database.schema import device
from gputally.collector.database.schema_gaps import gap

Edge: TypeAlias = tuple[int, int, int]  # node_id, device_id, and the end of a gap there: a window begins

_there, _twin = gap.alias("there"), device.alias("twin")
_SEEN = (
    select(gap.c.node_id, gap.c.device_id, gap.c.end_us, func.min(_there.c.end_us))
    .join(device, device.c.id == gap.c.device_id)
    .join(_twin, _twin.c.uuid == device.c.uuid)
    .join(
        _there,
        and_(
            _there.c.device_id == _twin.c.id,
            or_(_there.c.node_id != gap.c.node_id, _there.c.device_id != gap.c.device_id),
            _there.c.end_us >= gap.c.start_us,
            _there.c.end_us < gap.c.end_us,
        ),
    )
    .where(
        gap.c.node_id.in_(bindparam("nodes", expanding=True)),
        gap.c.device_id.in_(bindparam("devices", expanding=True)),
        gap.c.before_id.is_not(None),
    )
    .group_by(gap.c.node_id, gap.c.device_id, gap.c.end_us)
)
_BEHIND = (
    select(_twin.c.id, gap.c.node_id, gap.c.device_id, gap.c.start_us, gap.c.end_us)
    .join_from(gap, device, device.c.id == gap.c.device_id)
    .join(_twin, _twin.c.uuid == device.c.uuid)
    .where(
        _twin.c.id.in_(bindparam("devices", expanding=True)),
        gap.c.before_id.is_not(None),
        gap.c.end_us > bindparam("first"),
        gap.c.start_us <= bindparam("last"),
    )
)
_PLACES = (
    select(device.c.id, _there.c.node_id, _there.c.device_id)
    .join(_twin, _twin.c.uuid == device.c.uuid)
    .join(_there, _there.c.device_id == _twin.c.id)
    .distinct()
)


def ends_another(before_us: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a gap's device, where the gap ends, was silent in another place: up to here, and on after `before_us`."""
    mine = device.alias("mine")
    silent = (
        select(_there.c.end_us).join(_twin, _twin.c.id == _there.c.device_id).join(mine, mine.c.uuid == _twin.c.uuid)
    )
    return silent.where(
        mine.c.id == gap.c.device_id,
        or_(_there.c.node_id != gap.c.node_id, _there.c.device_id != gap.c.device_id),
        _there.c.before_id.is_not(None),
        _there.c.start_us <= gap.c.end_us,
        _there.c.end_us > before_us,
    ).exists()


def known_in_two_places(connection: Connection, devices: Collection[int]) -> set[int]:
    """Those of some devices whose UUID was seen on two nodes, or by two names of its model, and may be again."""
    query = _PLACES.where(among(connection, device.c.id, "devices"))
    seen = Counter(device_id for device_id, *_ in connection.execute(query, {"devices": sorted(devices)}))
    return {device_id for device_id, places in seen.items() if places > 1}


def seen_elsewhere(connection: Connection, nodes: Collection[int], devices: Collection[int]) -> dict[Edge, int]:
    """When, within a gap of these devices on these nodes, the device was first seen in another place."""
    rows = connection.execute(_SEEN, {"nodes": sorted(nodes), "devices": sorted(devices)})
    return {(node_id, device_id, end_us): seen_us for node_id, device_id, end_us, seen_us in rows}


def left_behind(connection: Connection, edges: Collection[Edge]) -> Iterator[tuple[int, Span]]:
    """The nodes, and the parts of gaps there, that are booked otherwise because these edges came or went."""
    if not edges:
        return
    instants = [at_us for *_, at_us in edges]
    devices = sorted({device_id for _, device_id, _ in edges})
    behind: defaultdict[int, list[Sequence[int]]] = defaultdict(list)
    found: Sequence[Row[int, int, int, int, int]] = connection.execute(
        _BEHIND, {"devices": devices, "first": min(instants), "last": max(instants)}
    ).all()
    for twin_id, *place in found:
        behind[twin_id].append(place)
    for node_id, device_id, at_us in edges:
        for there_id, other_id, start_us, end_us in behind[device_id]:
            if (there_id, other_id) != (node_id, device_id) and start_us <= at_us < end_us:
                yield there_id, (at_us, end_us)
