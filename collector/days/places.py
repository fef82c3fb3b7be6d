"""A day's sums by namespace and model, out of those of its postings: they are made when it is sealed."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Insert,
    Subquery,
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
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.states import Basis
from gputally.collector.database.engine import upsert
from gputally.collector.database.schema import device, node, owner
from gputally.collector.database.schema_day import AMOUNTS, MEMORY, namespace_day, place, posting_day

MEMORY_BITS = 20  # a fleet's byte-seconds outgrow 64 bits, so they are summed in two halves

_row = posting_day.c
_OF_DAY = _row.day_us == bindparam("day")
_PLACES = ("cluster", "kind", "namespace", "model", "profile")
_PLACE = (node.c.cluster, owner.c.kind, owner.c.namespace, device.c.model, _row.profile)
_NAMED = (
    posting_day.join(node, node.c.id == _row.node_id)
    .join(device, device.c.id == _row.device_id)
    .join(owner, owner.c.id == _row.owner_id)
)


def sum_places(connection: Connection, day_us: int) -> None:
    """Make a day's sums, of which none is there."""
    of_day = {"day": day_us}
    connection.execute(_new_places(connection), of_day)
    connection.execute(_SUM, of_day)


def drop_places(connection: Connection, day_us: int) -> None:
    """Forget a day's sums."""
    connection.execute(_DROP, {"day": day_us})


def _new_places(connection: Connection) -> Insert:
    """In order, so that two that seal days never wait for each other in a circle."""
    named = select(*_PLACE).select_from(_NAMED).where(_OF_DAY).distinct().subquery()
    found = select(named).where(~exists().where(_is_at(named))).order_by(*named.c)
    return upsert(connection, place).from_select(list(_PLACES), found).on_conflict_do_nothing()


def _is_at(named: Subquery) -> ColumnElement[bool]:
    return and_(*(place.c[name] == named.c[name] for name in _PLACES))


def _total(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(func.sum(column), BigInteger)


def _by_place() -> Insert:
    held = _row.used_us + _row.idle_us + _row.unobserved_us
    low: ColumnElement[int] = literal_column(str((1 << MEMORY_BITS) - 1))
    sums = {
        "first_us": func.min(_row.first_us),
        "last_us": func.max(_row.last_us),
        "hash": _total(_row.hash),
        **{name: _total(_row[name]) for name in AMOUNTS},
        "reserved_us": _total(case((_row.basis == Basis.RESERVATION.value, held), else_=literal_column("0"))),
        "memory_high": _total(_row[MEMORY].op(">>")(literal_column(str(MEMORY_BITS)))),
        "memory_low": _total(_row[MEMORY].op("&")(low)),
    }
    key = (_row.day_us, *_PLACE)
    labelled = (column.label(name) for name, column in sums.items())
    # Places are looked up for the sums: on tables that nobody analysed yet, PostgreSQL would look them up for each row.
    summed = select(*key, *labelled).select_from(_NAMED).where(_OF_DAY).group_by(*key).subquery()
    found = select(summed.c.day_us, place.c.id, *(summed.c[name] for name in sums))
    found = found.join_from(summed, place, _is_at(summed))
    return insert(namespace_day).from_select(["day_us", "place_id", *sums], found)


_SUM = _by_place()
_DROP = delete(namespace_day).where(namespace_day.c.day_us == bindparam("day"))
