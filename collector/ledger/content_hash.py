"""A fingerprint of the ledger that an answer rests on: the same ledger, the same hash; another, another.

Rows are hashed by their names and not by their ids, and the hashes are added, so that their order does not matter: of a
whole day whose postings are summed the sums, which are hashed as they are made, of other time the postings. It tells
whether two answers of one database rest on the same ledger. It guards against change, not against forgery, and SQLite
and PostgreSQL hash differently: what is frozen for ever has a content hash of its own.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.allocation.cells import SOURCES
from gputally.collector.allocation.plan import Detail, Part, Summed, detail, parts, uncut
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.whose import learnt
from gputally.collector.database import schema
from gputally.collector.database.fingerprint import SUM_MASK, fingerprint
from gputally.collector.database.schema_workload import pod_workload

_IDS = ("node_id", "device_id", "owner_id")
_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(column for column in schema.posting.c if column.name not in _IDS),
    *(schema.node.c.cluster, schema.node.c.name, schema.device.c.uuid, schema.device.c.model),
    *(column for column in schema.owner.c if column.name != "id"),
)


def ledger_hash(sums: Iterable[int | None]) -> str:
    """64 hexadecimal digits for the sums that `hashed` tells."""
    whole = sum(map(int, filter(None, sums)))
    return hashlib.sha256(str(whole & SUM_MASK).encode()).hexdigest()


def hashed(query: Query, days: Sequence[Summed]) -> Sequence[Select[int]]:
    """What sums the rows of the query's period that the asker may see and the filter lets in; `days` are its own."""
    of_days = uncut(query.period, (query.period.start_us,), days)
    found = parts(query.period, detail(query.where.keys), of_days)
    return [_statement(query, part) for part in found]


def _statement(query: Query, part: Part) -> Select[int]:
    source = SOURCES[part.detail]
    row = fingerprint(*_COLUMNS) if part.detail is Detail.POSTING else source.table.c.hash
    within = and_(source.within(part.spans), source.visible(query.scope), source.holds(query.where))
    found = select(func.sum(row)).where(within)
    if not query.where.asks_whose:
        return found.select_from(source.names() if part.detail is Detail.POSTING else source.table)
    places = source.names().outerjoin(pod_workload, learnt(schema.node, schema.owner, pod_workload))
    return found.select_from(places).where(query.where.whose())
