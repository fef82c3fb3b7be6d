"""What the database forgets: lines after their days, postings after their months, quarantine past its bounds.

Everything is deleted in small transactions, a few in each turn, so that nobody waits for them and any number of
replicas may do it at once. Lines of an hour that waits to be recomputed are never deleted, nor the windows that a gap
which reaches into kept time lies between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

from sqlalchemy import BindParameter, Connection, Engine, bindparam, delete, func, or_, select

from gputally.accounting.ledger_hour import from_us, hour_start, to_us
from gputally.collector.database.engine import is_sqlite, reading, writing
from gputally.collector.database.schema import dirty_hour, line, node, posting, quarantine, window, window_device
from gputally.collector.database.schema_gaps import gap
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.days.trim import drop_oldest
from gputally.collector.ledger.moves import ends_another
from gputally.collector.ledger.state import locked_state, read_state, write_state
from gputally.collector.waste.forget import forget_hour

_MARGIN_US = 3_600_000_000  # lines stay longer than windows are accepted, by more than clocks of replicas differ
_NODES = 16  # nodes of one turn, a transaction each
_WINDOWS = 1_000  # windows of one transaction: some ten thousand lines
_SET_ASIDE = 1_000  # refused windows of one turn
_QUARANTINE_EVERY_US = 60_000_000  # to add up its bytes is to read it all

_LOCK = select(node.c.id).where(node.c.id == bindparam("node")).with_for_update(key_share=True)
_NEXT_NODES = select(node.c.id).where(node.c.id > bindparam("after")).order_by(node.c.id).limit(_NODES)
_OLD_GAPS = delete(gap).where(
    gap.c.node_id == bindparam("node"), gap.c.end_us <= bindparam("before"), ~ends_another(bindparam("before"))
)
_OLD_WINDOWS = (
    select(window.c.id)
    .where(window.c.node_id == bindparam("node"), window.c.start_us < bindparam("before"))
    .order_by(window.c.start_us)
)
_BESIDE_GAPS = select(gap.c.before_id, gap.c.after_id).where(gap.c.node_id == bindparam("node"))
_IDS: BindParameter[int] = bindparam("windows", expanding=True)
_KEPT_FROM_NEWEST = func.sum(func.length(quarantine.c.message)).over(
    order_by=(quarantine.c.received_us.desc(), quarantine.c.id.desc())
)
_SIZES = select(quarantine.c.id, quarantine.c.received_us, _KEPT_FROM_NEWEST.label("kept")).subquery()


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things are kept: lines (None: for ever) and refused windows in microseconds, the latter in bytes too,
    postings in months of the billing time zone before the one that runs."""

    lines_us: int | None
    posting_months: int
    quarantine_us: int
    quarantine_bytes: int


@dataclass(frozen=True, slots=True)
class Removed:
    """Rows that were deleted."""

    windows: int = 0
    postings: int = 0
    quarantined: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(
            self.windows + other.windows, self.postings + other.postings, self.quarantined + other.quarantined
        )


class Retention:
    """Deletes a little at each turn; `removed` is what it deleted since it was made. `now_us` is the wall clock."""

    def __init__(self, engine: Engine, zone: tzinfo, policy: Policy, now_us: Callable[[], int]) -> None:
        self._engine = engine
        self._zone = zone
        self._policy = policy
        self._now_us = now_us
        self._swept_us = 0  # no node has lines before this
        self._last_node = 0  # of the sweep that is under way
        self._quarantine_due_us = 0
        self.removed = Removed()

    def turn(self) -> Removed:
        """Delete what is due, up to a bound; raises one of DATABASE_ERRORS."""
        now_us = self._now_us()
        done = Removed(self._trim_windows(now_us), self._trim_postings(now_us), self._trim_quarantine(now_us))
        self.removed += done
        return done

    # Lines, with their windows.

    def _trim_windows(self, now_us: int) -> int:
        before_us = self._lines_from(now_us)
        if before_us <= self._swept_us:
            return 0
        with reading(self._engine) as connection:
            nodes = connection.execute(_NEXT_NODES, {"after": self._last_node}).scalars().all()
        if not nodes:
            self._swept_us, self._last_node = before_us, 0
            return 0
        removed = 0
        for node_id in nodes:
            removed += self._trim_node(node_id, before_us)
            self._last_node = node_id
        return removed

    def _lines_from(self, now_us: int) -> int:
        """Before which lines may go. It is written down first: from then on nobody recomputes what lies before it."""
        if self._policy.lines_us is None:
            return 0
        wanted_us = hour_start(now_us - self._policy.lines_us - _MARGIN_US, self._zone)
        with reading(self._engine) as connection:
            state = read_state(connection)
        if state.lines_from_us >= wanted_us:
            return state.lines_from_us
        with writing(self._engine) as connection:
            state = locked_state(connection)
            oldest_mark = connection.execute(select(func.min(dirty_hour.c.hour_us))).scalar_one()
            allowed_us = wanted_us if oldest_mark is None else min(wanted_us, oldest_mark)
            state = replace(state, lines_from_us=max(state.lines_from_us, allowed_us))
            write_state(connection, state)
        return state.lines_from_us

    def _trim_node(self, node_id: int, before_us: int) -> int:
        removed = 0
        while found := self._trim_some(node_id, before_us):
            removed += found
        return removed

    def _trim_some(self, node_id: int, before_us: int) -> int:
        """Delete the oldest windows of a node; those beside a gap lose their lines only."""
        of_node = {"node": node_id, "before": before_us}
        with writing(self._engine) as connection:
            if not is_sqlite(connection):
                connection.execute(_LOCK, of_node)
            connection.execute(_OLD_GAPS, of_node)
            beside = {id_ for row in connection.execute(_BESIDE_GAPS, {"node": node_id}) for id_ in row}
            old = connection.execute(_OLD_WINDOWS.limit(_WINDOWS + len(beside)), of_node).scalars().all()
            gone = [id_ for id_ in old if id_ not in beside]
            _delete_windows(connection, old, gone)
        return len(gone)

    # Postings.

    def _trim_postings(self, now_us: int) -> int:
        """Delete the postings of the oldest hour that is past its months, and whose work pods of that time were.

        Their sums go no later, a day at a time; without them the day is read from what is left of its postings.
        """
        from_us = self._postings_from(now_us)
        with reading(self._engine) as connection:
            oldest_us = connection.execute(select(func.min(posting.c.hour_us))).scalar_one()
        if oldest_us is None or oldest_us >= from_us:
            return 0
        with writing(self._engine) as connection:
            drop_oldest(connection, from_us)
            connection.execute(delete(pod_workload).where(pod_workload.c.last_seen_us < from_us))
            forget_hour(connection, oldest_us)
            return connection.execute(delete(posting).where(posting.c.hour_us == oldest_us)).rowcount

    def _postings_from(self, now_us: int) -> int:
        """The beginning of the first month that is kept, in the billing time zone."""
        local = from_us(now_us).astimezone(self._zone)
        month = local.year * 12 + local.month - 1 - self._policy.posting_months
        first = local.replace(
            year=month // 12, month=month % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0, fold=0
        )
        return to_us(first)

    # Quarantine.

    def _trim_quarantine(self, now_us: int) -> int:
        """Delete refused windows that are too old, and the oldest while all of them are too large."""
        if now_us < self._quarantine_due_us:
            return 0
        past = or_(
            _SIZES.c.received_us < now_us - self._policy.quarantine_us, _SIZES.c.kept > self._policy.quarantine_bytes
        )
        found = select(_SIZES.c.id).where(past).order_by(_SIZES.c.received_us, _SIZES.c.id).limit(_SET_ASIDE)
        with writing(self._engine) as connection:
            removed = connection.execute(delete(quarantine).where(quarantine.c.id.in_(found))).rowcount
        if removed < _SET_ASIDE:
            self._quarantine_due_us = now_us + _QUARANTINE_EVERY_US
        return removed


def _delete_windows(connection: Connection, old: Sequence[int], gone: Sequence[int]) -> None:
    for table, column, ids in (
        (line, line.c.window_id, old),
        (window_device, window_device.c.window_id, gone),
        (window, window.c.id, gone),
    ):
        if ids:
            connection.execute(delete(table).where(column.in_(_IDS)), {"windows": list(ids)})
