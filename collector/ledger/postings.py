"""The ledger: lines summed into postings per (hour, node), recomputed whenever lines arrived, never incremented."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import Any

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, bindparam, delete, func, select, text, tuple_
from sqlalchemy.exc import OperationalError

from gputally.collector.database.among import among
from gputally.collector.database.engine import is_sqlite, reading, writing
from gputally.collector.database.schema import AMOUNTS, MEMOS, device, dirty_hour, node, owner, posting
from gputally.collector.days.sums import sum_days
from gputally.collector.ledger.gap_postings import add_gaps
from gputally.collector.ledger.look_ups import by_look_ups
from gputally.collector.ledger.marks import Mark
from gputally.collector.ledger.one_at_a_time import hold_nodes
from gputally.collector.ledger.state import read_state
from gputally.collector.ledger.sums import sum_lines
from gputally.collector.waste.parts import Hours, divide_idle, hours_beside

_FIRST_BATCH, _BATCH = 8, 128  # pairs in one transaction: a writer whose hour is being recomputed waits for it
_BRIEF_S = 0.25  # what a transaction may take: as many pairs are in it
_WAIT_S = 10  # for another that recomputes an hour: far longer than a batch takes

_TAKE = (
    select(dirty_hour.c.hour_us, dirty_hour.c.node_id)
    .where(tuple_(dirty_hour.c.hour_us, dirty_hour.c.node_id) < tuple_(bindparam("hour"), bindparam("node")))
    .order_by(dirty_hour.c.hour_us.desc(), dirty_hour.c.node_id.desc())
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_WAIT_FOR = (
    select(dirty_hour.c.hour_us)
    .where(dirty_hour.c.hour_us == bindparam("hour"), dirty_hour.c.node_id == bindparam("node"))
    .with_for_update()
)
_DROP_POSTINGS = delete(posting).where(posting.c.hour_us == bindparam("hour"))
_DROP_MARKS = delete(dirty_hour).where(dirty_hour.c.hour_us == bindparam("hour"))

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
    done, below, most = 0, (2**63 - 1, 2**63 - 1), _FIRST_BATCH
    while limit is None or done < limit:
        pairs, took_s = _settle_batch(engine, zone, below, most if limit is None else min(most, limit - done))
        if not pairs:
            break
        most = _next_batch(len(pairs), took_s)
        yield from pairs
        done += len(pairs)
        below = pairs[-1]


def _next_batch(done: int, took_s: float) -> int:
    """How many pairs the next transaction takes: who waits for one of them, an agent for its answer, waits briefly."""
    return max(1, min(_BATCH, int(done * _BRIEF_S / took_s)))


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
                if connection.execute(_WAIT_FOR, {"hour": hour_us, "node": node_id}).all():
                    hold_nodes(connection, [node_id])
                    _settle_pairs(connection, zone, [(hour_us, node_id)])
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
            return


def _settle_batch(engine: Engine, zone: tzinfo, below: Mark, most: int) -> tuple[list[Mark], float]:
    """Take up to `most` pairs before `below`, recompute them and remove their marks, in one transaction.

    And how long that took, in seconds, without the time for which it waited for others: else the batches of processes
    that wait for each other would shrink to nothing. A writer that adds lines to a taken hour waits for its mark until
    this commits, and sets it anew.
    """
    with writing(engine) as connection:
        taken = connection.execute(_TAKE, {"hour": below[0], "node": below[1], "most": most}).all()
        pairs = [(hour_us, node_id) for hour_us, node_id in taken]
        hold_nodes(connection, (node_id for _, node_id in pairs))
        began_s = monotonic()
        _settle_pairs(connection, zone, pairs)
    return pairs, monotonic() - began_s


def _settle_pairs(connection: Connection, zone: tzinfo, pairs: Sequence[Mark]) -> None:
    """Recompute pairs whose marks and nodes this transaction has locked, and remove the marks."""
    by_look_ups(connection)
    lines_from_us = read_state(connection).lines_from_us
    recomputed = [(hour_us, node_id) for hour_us, node_id in pairs if hour_us >= lines_from_us]
    for hour_us, of_hour in groupby(pairs, key=itemgetter(0)):
        nodes = [node_id for _, node_id in of_hour]
        if hour_us >= lines_from_us:  # before it, lines are gone and the postings are all there is
            _recompute(connection, hours_beside(hour_us, zone, lines_from_us), nodes)
        drop = _DROP_MARKS.where(among(connection, dirty_hour.c.node_id, "nodes"))
        connection.execute(drop, {"hour": hour_us, "nodes": nodes})
    sum_days(connection, zone, recomputed)


def _recompute(connection: Connection, hours: Hours, nodes: Sequence[int]) -> None:
    of_hour = {"hour": hours.start_us, "end": hours.end_us, "nodes": nodes}
    connection.execute(_DROP_POSTINGS.where(among(connection, posting.c.node_id, "nodes")), of_hour)
    idle = sum_lines(connection, of_hour)
    add_gaps(connection, hours.start_us, hours.end_us, nodes)
    divide_idle(connection, hours, nodes, idle)
