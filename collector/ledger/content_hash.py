"""A fingerprint of the postings that an answer rests on: the same postings, the same hash; another, another.

Each posting, by its names and not by its ids, is hashed, and the hashes are added, so that their order does not
matter. It tells whether two answers of one database rest on the same ledger. It guards against change, not against
forgery, and SQLite and PostgreSQL hash differently: what is frozen for ever has a content hash of its own.
"""

import hashlib
import sqlite3
from typing import Any

from sqlalchemy import Connection, and_, func, select
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.allocation.cells import NAMED, in_scope
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.whose import learnt
from gputally.collector.database import schema
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema_workload import pod_workload

_AGGREGATE = "gputally_sum_of_hashes"
_posting, _owner = schema.posting.c, schema.owner.c
_IDS = ("node_id", "device_id", "owner_id")
_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(column for column in schema.posting.c if column.name not in _IDS),
    *(schema.node.c.cluster, schema.node.c.name, schema.device.c.uuid, schema.device.c.model),
    *(column for column in schema.owner.c if column.name != "id"),
)


class _SumOfHashes:
    """SQLite's side of it: an aggregate over rows of any columns."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, *values: object) -> None:
        digest = hashlib.blake2b(repr(values).encode(), digest_size=8).digest()
        self._sum += int.from_bytes(digest, "big")

    def finalize(self) -> str:
        return str(self._sum)


def ledger_hash(connection: Connection, query: Query) -> str:
    """64 hexadecimal digits for the postings of the query's period that the asker may see and the filter lets in."""
    places = NAMED.outerjoin(pod_workload, learnt(schema.node, schema.owner, pod_workload))
    found = select(func.count(), _sum(connection)).select_from(places if query.where.asks_whose else NAMED)
    count, total = connection.execute(found.where(_postings(query))).one()
    return hashlib.sha256(f"{count}:{total}".encode()).hexdigest()


def _postings(query: Query) -> ColumnElement[bool]:
    return and_(in_scope(query.period, query.scope), query.where.condition(), query.where.whose())


def _sum(connection: Connection) -> ColumnElement[Any]:
    if not is_sqlite(connection):
        return func.sum(func.hash_record_extended(func.row(*_COLUMNS), 0))
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - narrows the type for the next line
    driver.create_aggregate(_AGGREGATE, -1, _SumOfHashes)  # type: ignore[arg-type]
    found: ColumnElement[Any] = getattr(func, _AGGREGATE)(*_COLUMNS)
    return found
