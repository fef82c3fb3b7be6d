"""Whose turn it is: one replica looks and sends, and another takes over where it ended or hangs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, Engine, select, update

from gputally.collector.database.engine import upsert, writing
from gputally.collector.database.schema_notify import notify_turn

HELD_US = 120_000_000  # a turn that is not renewed for so long is anybody's
_ROW = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """What replicas agree on; instants are of the wall clock, because no other is shared between machines."""

    holder: str = ""
    until_us: int = 0
    looked_us: int = 0
    counted_us: int = 0
    not_before_us: int = 0
    failures: int = 0
    left_out: int = 0

    def is_of_another(self, holder: str, now_us: int) -> bool:
        """Whether another replica holds it. One that ends far in the future was taken by a clock that was wrong."""
        return self.holder != holder and now_us < self.until_us <= now_us + HELD_US


def take(engine: Engine, holder: str, now_us: int) -> Turn | None:
    """Take the turn, or renew it; None where another replica has it, or is at it right now."""
    with writing(engine) as connection:
        turn = _read(connection, skip_locked=True)
        if turn is None or turn.is_of_another(holder, now_us):
            return None
        taken = replace(turn, holder=holder, until_us=now_us + HELD_US)
        keep(connection, taken)
    return taken


@contextmanager
def turning(engine: Engine) -> Iterator[tuple[Connection, Turn]]:
    """A transaction that has the row to itself, and what stands there."""
    with writing(engine) as connection:
        yield connection, _read(connection, skip_locked=False) or Turn()


def keep(connection: Connection, turn: Turn) -> None:
    """Write the row that this transaction has."""
    connection.execute(update(notify_turn).where(notify_turn.c.id == _ROW).values(asdict(turn)))


def give_up(engine: Engine, holder: str) -> None:
    """Let another replica go on at once."""
    with turning(engine) as (connection, turn):
        if turn.holder == holder:
            keep(connection, replace(turn, until_us=0))


def _read(connection: Connection, *, skip_locked: bool) -> Turn | None:
    """The row, for this transaction to change; None where another has it and is not to be waited for."""
    first = {"id": _ROW, **asdict(Turn())}
    connection.execute(upsert(connection, notify_turn).values(first).on_conflict_do_nothing())
    locked = select(notify_turn).where(notify_turn.c.id == _ROW).with_for_update(skip_locked=skip_locked)
    row = connection.execute(locked).one_or_none()
    return None if row is None else Turn(*row[1:])
