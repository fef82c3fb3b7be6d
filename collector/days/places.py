"""A day's sums by namespace and model, out of those of its postings: node by node, and of all nodes together."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
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
ALL_NODES = 0  # in the place of a node's id

_row, _sums = posting_day.c, namespace_day.c
_NODES: BindParameter[int] = bindparam("nodes", expanding=True)
_PLACES = ("cluster", "kind", "namespace", "model", "profile")
_PLACE = (node.c.cluster, owner.c.kind, owner.c.namespace, device.c.model, _row.profile)
_NAMED = (
    posting_day.join(node, node.c.id == _row.node_id)
    .join(device, device.c.id == _row.device_id)
    .join(owner, owner.c.id == _row.owner_id)
)


def sum_places(connection: Connection, day_us: int, nodes: Sequence[int] | None = None) -> None:
    """Make a day's sums of these nodes, each for itself; None: of all nodes, and of nothing but them."""
    given: dict[str, Any] = {"day": day_us} if nodes is None else {"day": day_us, "nodes": nodes}
    gone, there = [_sums.day_us == bindparam("day")], [_row.day_us == bindparam("day")]
    if nodes is not None:
        gone.append(_sums.node_id.in_(_NODES))
        there.append(_row.node_id.in_(_NODES))
    connection.execute(delete(namespace_day).where(*gone), given)
    connection.execute(_new_places(connection, *there), given)
    connection.execute(_by_node(*there), given)


def sum_nodes(connection: Connection, day_us: int) -> None:
    """Put the sums of all nodes together."""
    of_day = {"day": day_us}
    connection.execute(_TOGETHER, of_day)
    connection.execute(_APART, of_day)


def _new_places(connection: Connection, *within: ColumnElement[bool]) -> Insert:
    """In order, so that two transactions never wait for each other in a circle."""
    named = select(*_PLACE).select_from(_NAMED).where(*within).distinct().subquery()
    found = select(named).where(~exists().where(_is_at(named))).order_by(*named.c)
    return upsert(connection, place).from_select(list(_PLACES), found).on_conflict_do_nothing()


def _is_at(named: Subquery) -> ColumnElement[bool]:
    return and_(*(place.c[name] == named.c[name] for name in _PLACES))


def _total(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(func.sum(column), BigInteger)


def _by_node(*within: ColumnElement[bool]) -> Insert:
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
    key = (_row.day_us, _row.node_id, *_PLACE)
    labelled = (column.label(name) for name, column in sums.items())
    # Places are looked up for the sums: on tables that nobody analysed yet, PostgreSQL would look them up for each row.
    summed = select(*key, *labelled).select_from(_NAMED).where(*within).group_by(*key).subquery()
    ids = (summed.c.day_us, summed.c.node_id, place.c.id)
    found = select(*ids, *(summed.c[name] for name in sums)).join_from(summed, place, _is_at(summed))
    return insert(namespace_day).from_select(["day_us", "node_id", "place_id", *sums], found)


def _together() -> Insert:
    edges = {"first_us": func.min(_sums.first_us), "last_us": func.max(_sums.last_us)}
    sums = {name: _total(_sums[name]) for name in ("hash", *AMOUNTS, "reserved_us", "memory_high", "memory_low")}
    all_nodes: ColumnElement[int] = literal_column(str(ALL_NODES))
    of_day = select(_sums.day_us, all_nodes, _sums.place_id, *edges.values(), *sums.values()).where(
        _sums.day_us == bindparam("day")
    )
    found = of_day.group_by(_sums.day_us, _sums.place_id)
    return insert(namespace_day).from_select(["day_us", "node_id", "place_id", *edges, *sums], found)


_TOGETHER = _together()
_APART = delete(namespace_day).where(_sums.day_us == bindparam("day"), _sums.node_id != ALL_NODES)
