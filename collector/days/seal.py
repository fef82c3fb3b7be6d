"""Days that are over, summed by namespace and model out of their postings' sums, so that a month is some thousand rows.

A sealed day is one that nobody changed since. What arrives late unseals it, in the transaction that changes it, and
it is sealed anew when its postings are settled.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy import update as change
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.states import Basis
from gputally.collector.database.engine import upsert
from gputally.collector.database.schema import device, dirty_hour, node, owner
from gputally.collector.database.schema_day import AMOUNTS, MEMORY, namespace_day, place, posting_day, summed_day
from gputally.collector.days.calendar import Day
from gputally.collector.days.locks import lock_day

MEMORY_BITS = 20  # a fleet's byte-seconds outgrow 64 bits, so they are summed in two halves

_row = posting_day.c
_DAY = _row.day_us == bindparam("day", type_=BigInteger)
_PLACE = (node.c.cluster, owner.c.kind, owner.c.namespace, device.c.model, _row.profile)
_PLACES = ("cluster", "kind", "namespace", "model", "profile")
_WAITS = exists().where(dirty_hour.c.hour_us >= summed_day.c.day_us, dirty_hour.c.hour_us < summed_day.c.end_us)
_NEXT = (
    select(summed_day.c.day_us, summed_day.c.end_us)
    .where(summed_day.c.sealed == 0, summed_day.c.end_us <= bindparam("now"), ~_WAITS)
    .order_by(summed_day.c.day_us.desc())
    .limit(1)
)
_OPEN = select(summed_day.c.day_us).where(summed_day.c.day_us == bindparam("day"), summed_day.c.sealed == 0)
_SEAL = change(summed_day).where(summed_day.c.day_us == bindparam("day")).values(sealed=1)


def next_to_seal(connection: Connection, now_us: int) -> Day | None:
    """The newest day before `now_us` that is not sealed and none of whose hours waits to be settled."""
    found = connection.execute(_NEXT, {"now": now_us}).one_or_none()
    return None if found is None else Day(*found)


def seal(connection: Connection, day: Day) -> None:
    """Make the sums by namespace of a day, where it is summed and they are not there."""
    of_day = {"day": day.start_us}
    lock_day(connection, day.start_us)
    if connection.execute(_OPEN, of_day).one_or_none() is None:
        return
    connection.execute(delete(namespace_day).where(namespace_day.c.day_us == bindparam("day")), of_day)
    connection.execute(_new_places(connection), of_day)
    connection.execute(_SUM, of_day)
    connection.execute(_SEAL, of_day)


def held_by_reservation() -> ColumnElement[Any]:
    """The time of a row that is *reserved*."""
    held = _row.used_us + _row.idle_us + _row.unobserved_us
    return case((_row.basis == Basis.RESERVATION.value, held), else_=literal_column("0"))


def _new_places(connection: Connection) -> Any:
    """In order, so that two days never wait for each other in a circle."""
    named = select(*_PLACE).join_from(posting_day, node, node.c.id == _row.node_id)
    named = named.join(device, device.c.id == _row.device_id).join(owner, owner.c.id == _row.owner_id)
    known = select(place.c.id).where(*(place.c[name] == column for name, column in zip(_PLACES, _PLACE, strict=True)))
    found = named.where(_DAY, ~known.exists()).distinct().order_by(*_PLACE)
    return upsert(connection, place).from_select(list(_PLACES), found).on_conflict_do_nothing()


def _sum(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(func.sum(column), BigInteger)


def _summed() -> Any:
    memory = _row[MEMORY]
    low: ColumnElement[int] = literal_column(str((1 << MEMORY_BITS) - 1))
    sums = {
        "first_us": func.min(_row.first_us),
        "last_us": func.max(_row.last_us),
        "hash": _sum(_row.hash),
        **{name: _sum(_row[name]) for name in AMOUNTS},
        "reserved_us": _sum(held_by_reservation()),
        "memory_high": _sum(memory.op(">>")(literal_column(str(MEMORY_BITS)))),
        "memory_low": _sum(memory.op("&")(low)),
    }
    at = (place.c[name] == column for name, column in zip(_PLACES, _PLACE, strict=True))
    found = (
        select(_row.day_us, place.c.id, *sums.values())
        .join_from(posting_day, node, node.c.id == _row.node_id)
        .join(device, device.c.id == _row.device_id)
        .join(owner, owner.c.id == _row.owner_id)
        .join(place, and_(*at))
        .where(_DAY)
        .group_by(_row.day_us, place.c.id)
    )
    return insert(namespace_day).from_select(["day_us", "place_id", *sums], found)


_SUM = _summed()
