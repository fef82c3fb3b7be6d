"""Marks on hours of nodes whose postings must be recomputed."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import tzinfo
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from sqlalchemy import BigInteger, Connection, Delete, Select, bindparam, delete, literal_column, select

from gputally.accounting.gap import Span
from gputally.accounting.ledger_hour import hours
from gputally.collector.database.among import among
from gputally.collector.database.built import built_once
from gputally.collector.database.engine import is_sqlite
from gputally.collector.database.schema import dirty_hour
from gputally.collector.ingest.bulk import upsert_rows

Mark: TypeAlias = tuple[int, int]  # (hour_us, node_id)
Version: TypeAlias = tuple[int, ...]  # of a mark: another one says that it was set meanwhile


@built_once
def _marked(connection: Connection) -> Select[int, int, int, int]:
    # A replica of the version before, in an upgrade, writes marks without counting: so by whom it was written, too.
    written = literal_column("0" if is_sqlite(connection) else "dirty_hour.xmin::text::bigint", BigInteger)
    return select(dirty_hour.c.hour_us, dirty_hour.c.node_id, dirty_hour.c.changes, written).where(
        among(connection, dirty_hour.c.hour_us, "hours"), among(connection, dirty_hour.c.node_id, "nodes")
    )


@built_once
def _locked(connection: Connection) -> Select[int, int, int, int]:
    return _marked(connection).with_for_update(skip_locked=True)


@built_once
def _drop(connection: Connection) -> Delete:
    of_hour = dirty_hour.c.hour_us == bindparam("hour")
    return delete(dirty_hour).where(of_hour, among(connection, dirty_hour.c.node_id, "nodes"))


def set_marks(connection: Connection, marks: Iterable[Mark]) -> None:
    """Have these hours recomputed. A mark that is there already is changed: whoever is recomputing that hour without
    what this transaction writes must not take the mark away."""
    # Ordered, so that two writers never wait for each other in a circle.
    rows = [(hour_us, node_id, 1) for hour_us, node_id in sorted(set(marks))]
    upsert_rows(connection, dirty_hour, rows, ("hour_us", "node_id"), "dirty_hour.{0} + 1")


def read_marks(connection: Connection, pairs: Iterable[Mark]) -> dict[Mark, Version]:
    """Those of some pairs that are marked, each with how often that was said, and by which transaction last."""
    return _found(connection, set(pairs), _marked(connection))


def drop_marks(connection: Connection, read: Mapping[Mark, Version]) -> None:
    """Take marks away that are as `read_marks` gave them, in this transaction, before it looked at anything that is
    written together with marks, and while nobody else took marks of these nodes away.

    A transaction that committed before that moment wrote what was looked at. One that commits later has changed its
    marks: if by now, they are not what was read; if it still has them locked, they are skipped; and one that comes
    after this one has locked them, here, waits for its end and sets them anew. So a mark stays wherever something was
    written that was not looked at, and who writes waits for no longer than from here to the commit.
    """
    marked = _found(connection, set(read), _locked(connection))
    same = sorted(pair for pair, version in marked.items() if version == read[pair])
    for hour_us, of_hour in groupby(same, key=itemgetter(0)):
        connection.execute(_drop(connection), {"hour": hour_us, "nodes": [node_id for _, node_id in of_hour]})


def _found(connection: Connection, pairs: set[Mark], marked: Select[int, int, int, int]) -> dict[Mark, Version]:
    hours, nodes = (sorted({pair[at] for pair in pairs}) for at in (0, 1))
    rows = connection.execute(marked, {"hours": hours, "nodes": nodes})
    found: dict[Mark, Version] = {(hour_us, node_id): (*version,) for hour_us, node_id, *version in rows}
    return {pair: version for pair, version in found.items() if pair in pairs}


def marks_of(node_id: int, span: Span, zone: tzinfo, oldest_us: int) -> Iterator[Mark]:
    """The ledger hours of a node that a span touches, without those that end before `oldest_us`."""
    start_us, end_us = max(span[0], oldest_us), span[1]
    if start_us < end_us:
        for hour_us, _ in hours(start_us, end_us, zone):
            yield hour_us, node_id
