"""Devices that say nothing: their time is booked too, hour by hour, until they count as absent.

The instant up to which that is done stands in the database and is the same for all replicas, so that a ledger depends
on the windows and on that instant, not on who recomputed it and when.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import tzinfo

from sqlalchemy import Connection, Engine, bindparam, select

from gputally.accounting.gap import Span
from gputally.accounting.ledger_hour import hour_start
from gputally.collector.database.engine import reading, writing
from gputally.collector.database.schema import node
from gputally.collector.database.schema_gaps import FOREVER_US, gap
from gputally.collector.ledger.gaps import WATCHED, closed
from gputally.collector.ledger.marks import Mark, marks_of, set_marks
from gputally.collector.ledger.state import State, locked_state, read_state, write_state

GRACE_US = 900_000_000  # what is on its way a quarter of an hour after the end of its hour is late

_GAPS = select(gap.c.node_id, gap.c.start_us, gap.c.end_us).where(gap.c.before_id.is_not(None)).distinct()
_OPEN = _GAPS.where(gap.c.end_us == FOREVER_US, gap.c.start_us < bindparam("until"))
_OF_NODE = _GAPS.join(node, node.c.id == gap.c.node_id).where(
    node.c.cluster == bindparam("cluster"), node.c.name == bindparam("name"), gap.c.end_us > bindparam("from")
)


def book_silence(engine: Engine, zone: tzinfo, now_us: int, absent_after_us: int) -> int:
    """Have the time of silent devices booked up to the last ledger hour that is over, and out of its grace.

    `absent_after_us` is how long a device may be silent before it is absent. Returns how many hours of nodes were
    marked for it; the ledger's next settlement recomputes them.
    """
    until_us = hour_start(now_us - GRACE_US, zone)
    with reading(engine) as connection:
        if _next(read_state(connection), until_us, absent_after_us) is None:
            return 0
    with writing(engine) as connection:
        old = locked_state(connection)
        new = _next(old, until_us, absent_after_us)
        if new is None:  # another replica was faster
            return 0
        marks = set(_marks(connection, old, new, zone))
        set_marks(connection, marks)
        write_state(connection, new)
    return len(marks)


def rebook_node(connection: Connection, cluster: str, name: str, from_us: int, zone: tzinfo) -> None:
    """Have the gaps of a node that end after `from_us` divided again: the cluster said something new about when it
    was there."""
    state = locked_state(connection)
    rows = connection.execute(_OF_NODE, {"cluster": cluster, "name": name, "from": from_us})
    spans = ((node_id, closed((start_us, end_us), state)) for node_id, start_us, end_us in rows)
    set_marks(connection, (mark for place in spans for mark in marks_of(*place, zone, state.lines_from_us)))


def _next(state: State, until_us: int, absent_after_us: int) -> State | None:
    """The state that follows; None where there is nothing to do. It never goes back."""
    new = replace(state, booked_until_us=max(until_us, state.booked_until_us), absent_after_us=absent_after_us)
    return None if new == state else new


def _marks(connection: Connection, old: State, new: State, zone: tzinfo) -> Iterator[Mark]:
    """The hours that are booked otherwise now: all gaps' where the limit changed, or where nothing was booked by these
    rules before; else silent devices' new hours."""
    limit_changed = old.absent_after_us != new.absent_after_us or not old.booked_until_us
    watched = set(connection.execute(WATCHED).scalars())
    gaps = _GAPS if limit_changed else _OPEN
    for node_id, start_us, end_us in connection.execute(gaps, {"until": new.booked_until_us}).all():
        first_us = start_us if limit_changed else max(start_us, old.booked_until_us)
        span = closed((first_us, end_us), new)
        absent_us = start_us + max(old.absent_after_us, new.absent_after_us)
        open_and_unwatched = end_us == FOREVER_US and node_id not in watched
        yield from marks_of(node_id, _until(span, absent_us) if open_and_unwatched else span, zone, new.lines_from_us)


def _until(span: Span, end_us: int) -> Span:
    return span[0], min(span[1], end_us)
