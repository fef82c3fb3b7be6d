"""The ledger: lines summed into postings per (hour, node), recomputed whenever lines arrived, never incremented."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import Any, NamedTuple

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Delete, Engine, bindparam, delete, func, select, text
from sqlalchemy.exc import OperationalError

from gputally.collector.database.among import among
from gputally.collector.database.built import built_once
from gputally.collector.database.engine import is_sqlite, reading, writing
from gputally.collector.database.schema import AMOUNTS, MEMOS, device, dirty_hour, node, owner, posting
from gputally.collector.days.sums import sum_days
from gputally.collector.ledger.gap_postings import add_gaps
from gputally.collector.ledger.look_ups import by_look_ups
from gputally.collector.ledger.marks import Mark, drop_marks, read_marks
from gputally.collector.ledger.one_at_a_time import hold_nodes, next_marks
from gputally.collector.ledger.state import read_state
from gputally.collector.ledger.sums import sum_lines
from gputally.collector.waste.parts import Hours, divide_idle, hours_beside

_FIRST_BATCH, _BATCH = 8, 256  # pairs in one transaction
_FEWEST = 64  # of it where no writer waits for it: for one of a few pairs each takes several times as long
_BRIEF_S = 0.25  # what a transaction may take: as many pairs are in it. On SQLite all that write wait for it
_WAIT_S = 10  # for another that recomputes an hour: far longer than a batch takes


_NAMED = posting.join(node).join(device).join(owner)


def settle(engine: Engine, zone: tzinfo, limit: int | None = None) -> int:
    """Recompute postings whose lines changed, newest hour first; how many pairs of hour and node were done.

    At most `limit` pairs, and each at most once, so that it ends while lines keep arriving. Any number of processes
    may do this at once: each takes what no other has taken.
    """
    return sum(1 for _ in _settled(engine, zone, limit))


def catch_up(engine: Engine, zone: tzinfo, limit: int | None = None) -> None:
    """Settle for a reader: what is marked when this begins is in the postings when it ends, whoever recomputes it.

    Past `limit` pairs, or where another process holds one for more than ten seconds, marks are left: see `pending`.
    """
    marked = _marked(engine)
    if marked:
        marked.difference_update(_settled(engine, zone, limit))
        left = sorted(marked & _marked(engine), reverse=True)  # another has taken these, and may be at work
        if limit is None or len(left) <= limit:
            _wait_for(engine, zone, left)


def pending(connection: Connection) -> int:
    """How many pairs of hour and node wait to be recomputed."""
    return connection.execute(select(func.count()).select_from(dirty_hour)).scalar_one()


def dump(connection: Connection) -> list[tuple[Any, ...]]:
    """The ledger by names instead of ids, in one order: two ledgers are the same where their dumps are equal."""
    names = (posting.c.hour_us, node.c.cluster, node.c.name, device.c.uuid, device.c.model, posting.c.partition)
    owners = [column for column in owner.c if column is not owner.c.id]
    amounts = (posting.c[name] for name in (*AMOUNTS, *MEMOS, "gap_us"))
    rest = (posting.c.profile, posting.c.basis, posting.c.reason, posting.c.source, *amounts)
    rows = connection.execute(select(*names, *owners, *rest).select_from(_NAMED)).all()
    return sorted((tuple(row) for row in rows), key=lambda row: tuple(str(value) for value in row))


def _settled(engine: Engine, zone: tzinfo, limit: int | None) -> Iterator[Mark]:
    """The pairs that this recomputes, the newest first."""
    least, first = (1, _FIRST_BATCH) if is_sqlite(engine) else (_FEWEST, _FEWEST)
    done, below, most = 0, (2**63 - 1, 2**63 - 1), first
    while limit is None or done < limit:
        batch = _settle_batch(engine, zone, below, most if limit is None else min(most, limit - done))
        if batch.last is None:
            break
        yield from batch.pairs
        done, below = done + len(batch.pairs), batch.last
        if batch.pairs:
            most = _next_batch(len(batch.pairs), batch.took_s, least)


def _next_batch(done: int, took_s: float, least: int) -> int:
    """How many pairs the next transaction takes: who waits for one of them, a reader or SQLite's next writer, waits
    briefly."""
    return max(least, min(_BATCH, int(done * _BRIEF_S / took_s)))


def _marked(engine: Engine) -> set[Mark]:
    with reading(engine) as connection:
        rows = connection.execute(select(dirty_hour.c.hour_us, dirty_hour.c.node_id))
        return {(hour_us, node_id) for hour_us, node_id in rows}


def _wait_for(engine: Engine, zone: tzinfo, pairs: Sequence[Mark]) -> None:
    """Recompute what another took and did not finish; one pair at a time, so that nobody waits for who waits."""
    for hour_us, node_id in pairs:
        try:
            with writing(engine) as connection:
                if not is_sqlite(connection):
                    connection.execute(text(f"SET LOCAL lock_timeout = {round(_WAIT_S * 1000)}"))
                hold_nodes(connection, [node_id])
                _settle_pairs(connection, zone, [(hour_us, node_id)])
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
            return


class _Batch(NamedTuple):
    """Pairs that were recomputed in one transaction, the last one that was looked at for it (None: there is none), and
    how long that took: without the time for which it waited for others, else the batches of processes that wait for
    each other would shrink to nothing."""

    pairs: Sequence[Mark]
    last: Mark | None
    took_s: float


def _settle_batch(engine: Engine, zone: tzinfo, below: Mark, most: int) -> _Batch:
    """Recompute up to `most` pairs before `below` that no other process has taken."""
    with writing(engine) as connection:
        found = next_marks(connection, below, most)
        taken = [pair for pair, is_taken in found if is_taken]
        hold_nodes(connection, (node_id for _, node_id in taken))
        began_s = monotonic()
        pairs = _settle_pairs(connection, zone, taken) if taken else []
    return _Batch(pairs, found[-1][0] if found else None, monotonic() - began_s)


def _settle_pairs(connection: Connection, zone: tzinfo, taken: Sequence[Mark]) -> Sequence[Mark]:
    """Recompute those of some pairs that are marked, and remove the marks; this transaction holds their nodes."""
    by_look_ups(connection)
    marks = read_marks(connection, taken)
    lines_from_us = read_state(connection).lines_from_us
    pairs = sorted(marks, reverse=True)
    recomputed = [(hour_us, node_id) for hour_us, node_id in pairs if hour_us >= lines_from_us]
    for hour_us, of_hour in groupby(recomputed, key=itemgetter(0)):
        # Of what is before, lines are gone and the postings are all there is.
        _recompute(connection, hours_beside(hour_us, zone, lines_from_us), [node_id for _, node_id in of_hour])
    sum_days(connection, zone, recomputed)
    drop_marks(connection, marks)  # the last that it does: who writes may wait for it
    return pairs


@built_once
def _drop_postings(connection: Connection) -> Delete:
    of_hour = posting.c.hour_us == bindparam("hour")
    return delete(posting).where(of_hour, among(connection, posting.c.node_id, "nodes"))


def _recompute(connection: Connection, hours: Hours, nodes: Sequence[int]) -> None:
    of_hour = {"hour": hours.start_us, "end": hours.end_us, "nodes": nodes}
    connection.execute(_drop_postings(connection), of_hour)
    idle = sum_lines(connection, of_hour)
    add_gaps(connection, hours.start_us, hours.end_us, nodes)
    divide_idle(connection, hours, nodes, idle)
