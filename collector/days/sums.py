"""Sums of a day's postings: by whoever recomputes some of them, in the same transaction, from all that the day has.

They are never incremented, so replays and order cannot matter. A day whose postings were not summed yet is summed as a
whole; until then it has no row in `summed_day`, and whoever reads goes to the postings.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import tzinfo

from sqlalchemy import (
    BigInteger,
    Connection,
    Delete,
    Insert,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.ledger_hour import hours
from gputally.collector.database.among import among
from gputally.collector.database.built import built_once
from gputally.collector.database.fingerprint import fingerprint
from gputally.collector.database.schema import device, node, owner, posting
from gputally.collector.database.schema_day import AMOUNTS, MEMORY, posting_day, summed_day
from gputally.collector.days.calendar import Day, day_of
from gputally.collector.days.locks import lock_day, lock_opening, share_day
from gputally.collector.days.months import drop_months
from gputally.collector.days.places import drop_places

_KEY = ("node_id", "device_id", "partition", "owner_id", "basis", "reason", "profile")
_NAMES = (node.c.cluster, node.c.name, device.c.uuid, device.c.model, *list(owner.c)[1:])

_SEALED = select(summed_day.c.sealed).where(summed_day.c.day_us == bindparam("day"))
_UNSEAL = update(summed_day).where(summed_day.c.day_us == bindparam("day"), summed_day.c.sealed == 1).values(sealed=0)
_OF_DAY = posting_day.c.day_us == bindparam("day")


def sum_days(connection: Connection, zone: tzinfo, changed: Iterable[tuple[int, int]]) -> None:
    """Bring the sums in line with postings that this transaction recomputed: pairs of an hour and a node's id.

    Nobody else recomputes anything of these nodes until it ends.
    """
    nodes: defaultdict[Day, set[int]] = defaultdict(set)
    for hour_us, node_id in changed:
        nodes[day_of(hour_us, zone)].add(node_id)
    for day in _open_days(connection, sorted(nodes)):
        _sum_nodes(connection, day, [hour[0] for hour in hours(*day, zone)], sorted(nodes[day]))


def sum_day(connection: Connection, day: Day) -> None:
    """Sum a whole day whose postings are not summed yet, if they are not."""
    lock_day(connection, day.start_us)
    if connection.execute(_SEALED, {"day": day.start_us}).one_or_none() is None:
        _sum_whole(connection, day)
        drop_months(connection, [day.start_us])


def _sum_whole(connection: Connection, day: Day) -> None:
    connection.execute(delete(posting_day).where(_OF_DAY), {"day": day.start_us})
    whole = posting.c.hour_us >= bindparam("day"), posting.c.hour_us < bindparam("end")
    connection.execute(_sums(*whole), {"day": day.start_us, "end": day.end_us})
    connection.execute(insert(summed_day), {"day_us": day.start_us, "end_us": day.end_us, "sealed": 0})


def _open_days(connection: Connection, days: Sequence[Day]) -> Sequence[Day]:
    """Share days, of which none is sealed any more, nor its month summed; those that lack only what changed."""
    closed = [day for day in days if not _is_open(connection, day)]
    if not closed:
        return days
    whole = {day for day in closed if not _open(connection, day)}
    drop_months(connection, [day.start_us for day in closed])
    return [day for day in days if day not in whole]


def _is_open(connection: Connection, day: Day) -> bool:
    """Share a day; whether it is summed and not sealed, which it stays while it is shared."""
    share_day(connection, day.start_us)
    return connection.execute(_SEALED, {"day": day.start_us}).scalar_one_or_none() == 0


def _open(connection: Connection, day: Day) -> bool:
    """Sum a day for the first time, or take it as running again: the first of those that share it does it.

    What the others have not committed yet it cannot see, and need not: they sum their nodes when their turn comes.
    """
    lock_opening(connection, day.start_us)
    sealed = connection.execute(_SEALED, {"day": day.start_us}).scalar_one_or_none()
    if sealed is None:
        _sum_whole(connection, day)
    elif sealed:
        drop_places(connection, day.start_us)
        connection.execute(_UNSEAL, {"day": day.start_us})
    return sealed is not None


def _sum_nodes(connection: Connection, day: Day, hours_us: Sequence[int], nodes: Sequence[int]) -> None:
    """By hours and nodes: a stretch of time would be that of all nodes, for as many look-ups as the fleet has."""
    of_day = {"day": day.start_us, "hours": hours_us, "nodes": nodes}
    connection.execute(_drop(connection), of_day)
    connection.execute(_of_nodes(connection), of_day)


@built_once
def _drop(connection: Connection) -> Delete:
    return delete(posting_day).where(_OF_DAY, among(connection, posting_day.c.node_id, "nodes"))


@built_once
def _of_nodes(connection: Connection) -> Insert:
    of_hours, of_nodes = among(connection, posting.c.hour_us, "hours"), among(connection, posting.c.node_id, "nodes")
    return _sums(of_hours, of_nodes)


def _sums(*of: ColumnElement[bool]) -> Insert:
    hour = posting.c.hour_us
    key = [posting.c[name] for name in _KEY]
    sums = {name: cast(func.sum(posting.c[name]), BigInteger) for name in (*AMOUNTS, MEMORY)}
    edges = func.min(hour).label("first_us"), func.max(hour).label("last_us")
    summed = (
        select(*key, *edges, *(column.label(name) for name, column in sums.items()))
        .where(*of)
        .group_by(*key)
        .subquery()
    )
    row = [column for column in summed.c if column.name not in ("node_id", "device_id", "owner_id")]
    found = (
        select(bindparam("day", type_=BigInteger), *summed.c, fingerprint(*_NAMES, *row))
        .join_from(summed, node, node.c.id == summed.c.node_id)
        .join(device, device.c.id == summed.c.device_id)
        .join(owner, owner.c.id == summed.c.owner_id)
    )
    return insert(posting_day).from_select(["day_us", *(column.name for column in summed.c), "hash"], found)
