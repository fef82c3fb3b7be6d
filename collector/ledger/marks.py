"""Marks on hours of nodes whose postings must be recomputed."""

from collections.abc import Iterable, Iterator
from datetime import tzinfo
from typing import TypeAlias

from sqlalchemy import Connection

from gputally.accounting.gap import Span
from gputally.accounting.ledger_hour import hours
from gputally.collector.database.engine import upsert
from gputally.collector.database.schema import dirty_hour

Mark: TypeAlias = tuple[int, int]  # (hour_us, node_id)


def set_marks(connection: Connection, marks: Iterable[Mark]) -> None:
    """Have these hours recomputed. A mark that is there already is locked too: whoever is recomputing that hour
    without what this transaction writes must not take the mark away."""
    rows = [{"hour_us": hour_us, "node_id": node_id} for hour_us, node_id in sorted(set(marks))]
    if rows:
        insert = upsert(connection, dirty_hour)
        lock = insert.on_conflict_do_update(
            index_elements=["hour_us", "node_id"], set_={"hour_us": insert.excluded.hour_us}
        )
        connection.execute(lock, rows)


def marks_of(node_id: int, span: Span, zone: tzinfo, oldest_us: int) -> Iterator[Mark]:
    """The ledger hours of a node that a span touches, without those that end before `oldest_us`."""
    start_us, end_us = max(span[0], oldest_us), span[1]
    if start_us < end_us:
        for hour_us, _ in hours(start_us, end_us, zone):
            yield hour_us, node_id
