"""Of several processes only one recomputes hours of a node at a time, because neighbouring hours look at each other."""

from collections.abc import Iterable

from sqlalchemy import BigInteger, Connection, Integer, bindparam, cast, column, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY

from gputally.collector.database.engine import is_sqlite

_LOCKS = 0x6770  # of what we lock by numbers of our own; the second number is the node's id
_IDS = select(func.unnest(bindparam("nodes", type_=ARRAY(BigInteger))).label("id")).order_by("id").subquery()
_LOCK = select(func.pg_advisory_xact_lock(literal_column(str(_LOCKS)), cast(column("id"), Integer))).select_from(_IDS)


def hold_nodes(connection: Connection, nodes: Iterable[int]) -> None:
    """Wait until no other transaction recomputes hours of these nodes; until this one ends none will.

    All of a transaction's nodes at once, in their order, so that two never wait for each other. SQLite has one writer
    at a time anyway.
    """
    if not is_sqlite(connection):
        connection.execute(_LOCK, {"nodes": sorted(set(nodes))})
