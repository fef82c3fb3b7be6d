"""Who may write the sums of a day: many that recompute some of its nodes, or one that makes all of it anew.

On PostgreSQL these are advisory locks until the transaction ends; on SQLite whoever writes is alone. Several days are
locked in their order, after the nodes that are recomputed; then those that are opened; and last the months, which have
one lock for all of them. So nobody waits in a circle.
"""

from sqlalchemy import Connection, func, select

from gputally.collector.database.engine import is_sqlite

_DAY_US = 86_400_000_000
_SPACE, _OPENING, _MONTHS = 0x6464, 0x646F, 0x646D  # "dd", "do" and "dm": of two numbers, the first


def lock_day(connection: Connection, day_us: int) -> None:
    """Be alone with a day."""
    if not is_sqlite(connection):
        connection.execute(select(func.pg_advisory_xact_lock(_SPACE, day_us // _DAY_US)))


def share_day(connection: Connection, day_us: int) -> None:
    """Keep away who wants to be alone with a day."""
    if not is_sqlite(connection):
        connection.execute(select(func.pg_advisory_xact_lock_shared(_SPACE, day_us // _DAY_US)))


def lock_opening(connection: Connection, day_us: int) -> None:
    """Of those that share a day, be the only one that opens it."""
    if not is_sqlite(connection):
        connection.execute(select(func.pg_advisory_xact_lock(_OPENING, day_us // _DAY_US)))


def lock_months(connection: Connection) -> None:
    """Be the only one that makes or drops sums of months; no day is locked after it.

    Months are made once, and dropped by what comes late: to tell them apart would need an order of them, too.
    """
    if not is_sqlite(connection):
        connection.execute(select(func.pg_advisory_xact_lock(_MONTHS, 0)))
