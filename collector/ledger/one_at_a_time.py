"""Of several processes only one recomputes hours of a node at a time, because neighbouring hours look at each other.

And each takes what no other has taken. These are advisory locks, which nobody but who recomputes asks for: an agent's
windows are committed meanwhile.
"""

from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Select,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from gputally.collector.database.built import built_once
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema import dirty_hour
from gputally.collector.ledger.marks import Mark

_LOCKS = 0x6770  # of what we lock by numbers of our own; the second number is the node's id
_IDS = select(func.unnest(bindparam("nodes", type_=ARRAY(BigInteger))).label("id")).order_by("id").subquery()
_LOCK = select(func.pg_advisory_xact_lock(literal_column(str(_LOCKS)), cast(column("id"), Integer))).select_from(_IDS)
_MINUTE_US, _NODE_BITS = 60_000_000, 32
_below = tuple_(dirty_hour.c.hour_us, dirty_hour.c.node_id) < tuple_(bindparam("hour"), bindparam("node"))
_NEXT = (
    select(dirty_hour.c.hour_us, dirty_hour.c.node_id)
    .where(_below)
    .order_by(dirty_hour.c.hour_us.desc(), dirty_hour.c.node_id.desc())
    .limit(bindparam("most"))
)


@built_once
def _take(connection: Connection) -> Select[int, int, bool]:
    found = _NEXT.subquery()
    if is_sqlite(connection):  # its only writer
        return select(found.c.hour_us, found.c.node_id, true())
    minute = found.c.hour_us // literal_column(str(_MINUTE_US), BigInteger)
    number = minute.op("<<")(literal_column(str(_NODE_BITS))) + found.c.node_id
    return select(found.c.hour_us, found.c.node_id, func.pg_try_advisory_xact_lock(number))


def next_marks(connection: Connection, below: Mark, most: int) -> list[tuple[Mark, bool]]:
    """Up to `most` marked pairs before `below`, the newest first, and whether each was taken: another process is at
    work on those that were not. What is taken is so until this transaction ends."""
    rows = connection.execute(_take(connection), {"hour": below[0], "node": below[1], "most": most})
    return [((hour_us, node_id), bool(is_taken)) for hour_us, node_id, is_taken in rows]


def hold_nodes(connection: Connection, nodes: Iterable[int]) -> None:
    """Wait until no other transaction recomputes hours of these nodes; until this one ends none will.

    All of a transaction's nodes at once, in their order, so that two never wait for each other. SQLite has one writer
    at a time anyway.
    """
    if not is_sqlite(connection):
        connection.execute(_LOCK, {"nodes": sorted(set(nodes))})
