"""The lives of pods on their partitions, as SQL: one row for each container that is asked for and each partition of
its pod. What `life` says of windows at once, this says of tenures, which only grow.

A pod is all of its containers on one node; one whose UID the agent did not know is told by when it was first seen.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    Connection,
    FromClause,
    Integer,
    MetaData,
    String,
    Subquery,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
)
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.allocation.whose import learnt
from gputally.collector.database.schema import node, owner, window
from gputally.collector.database.schema_waste import tenure
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.ledger.state import State
from gputally.collector.waste.life import ENDED_AFTER_US

_YES: ColumnElement[int] = literal_column("1")
_NO: ColumnElement[int] = literal_column("0")
_peer = owner.alias("peer")
_SAME_POD = and_(*(_peer.c[name] == owner.c[name] for name in ("kind", "namespace", "pod", "pod_uid", "first_seen_us")))

_KEPT = Table(
    "lives",
    MetaData(),
    *(Column(name, Integer, primary_key=True, autoincrement=False) for name in ("owner_id", "node_id", "device_id")),
    Column("partition", String, primary_key=True),
    *(Column(name, BigInteger) for name in ("part_used", "used_from_us", "used_until_us", "ended")),
    prefixes=["TEMPORARY"],
    sqlite_with_rowid=False,
)


def lives(asked: Subquery, state: State) -> CTE:
    """The lives of the pods of `asked`, pairs of `owner_id` and `node_id`.

    By `owner_id`, `node_id`, `device_id` and `partition`: `used_from_us` and `used_until_us` of the pod (NULL: it used
    nothing yet), and 0 or 1 for `part_used`, whether it ever used this partition, and `ended`.
    """
    pod = [asked.c.owner_id, asked.c.node_id]
    place = [*pod, tenure.c.device_id, tenure.c.partition]
    spans = (
        select(
            *place,
            case((func.max(tenure.c.used_until_us).is_not(None), _YES), else_=_NO).label("part_used"),
            _of_pod(func.min, func.min(tenure.c.used_from_us), pod).label("used_from_us"),
            _of_pod(func.max, func.max(tenure.c.used_until_us), pod).label("used_until_us"),
            _of_pod(func.max, func.max(tenure.c.held_until_us), pod).label("held_until_us"),
        )
        .join_from(asked, owner, owner.c.id == asked.c.owner_id)
        .join(_peer, _SAME_POD)
        .join(tenure, and_(tenure.c.owner_id == _peer.c.id, tenure.c.node_id == asked.c.node_id))
        .group_by(*place)
        .subquery("spans")
    )
    newest = _newest()
    return (
        select(spans, _ended(spans, newest, state).label("ended"))
        .join_from(spans, owner, owner.c.id == spans.c.owner_id)
        .join(node, node.c.id == spans.c.node_id)
        .join(newest, newest.c.id == spans.c.node_id)
        .outerjoin(pod_workload, learnt(node, owner, pod_workload))
        .cte("lives")
        .prefix_with("MATERIALIZED", dialect="postgresql")  # else it is asked for each part anew whether its pod ended
    )


def kept(connection: Connection, found: CTE) -> FromClause:
    """The same with a key, in a table of the connection's own: SQLite would go through all of them for each part."""
    connection.execute(CreateTable(_KEPT, if_not_exists=True))
    connection.execute(delete(_KEPT))
    same = select(*(found.c[column.name] for column in _KEPT.c))
    connection.execute(insert(_KEPT).from_select(list(_KEPT.c), same))
    return _KEPT


def _of_pod(function: Any, of_part: ColumnElement[Any], pod: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    found: ColumnElement[Any] = function(of_part).over(partition_by=pod)
    return found


def _newest() -> Subquery:
    """Where each node's newest window ends: one look into the index for each, however many lives there are."""
    last = select(window.c.end_us).where(window.c.node_id == node.c.id).order_by(window.c.start_us.desc()).limit(1)
    return select(node.c.id, last.correlate(node).scalar_subquery().label("end_us")).subquery("newest")


def _ended(spans: Subquery, newest: Subquery, state: State) -> ColumnElement[int]:
    """`life.has_ended`."""
    known = or_(pod_workload.c.finished_us.is_not(None), pod_workload.c.gone_us.is_not(None))
    silent = spans.c.held_until_us < state.booked_until_us - state.absent_after_us
    alone = newest.c.end_us > spans.c.held_until_us + ENDED_AFTER_US
    return case((or_(known, silent, alone), _YES), else_=_NO)
