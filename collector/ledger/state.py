"""The one row that all replicas of a ledger agree on: how far silent devices are booked, and where lines begin."""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, func, select

from gputally.collector.database.engine import is_sqlite, upsert
from gputally.collector.database.schema_gaps import ledger_state

_ROW = 1
_LOCK = 0x6770_7574_6C65_6467  # "gputledg": the advisory lock of the row, whose waiters come in turn

_READ = select(
    ledger_state.c.booked_until_us,
    ledger_state.c.absent_after_us,
    ledger_state.c.lines_from_us,
    ledger_state.c.zone,
).where(ledger_state.c.id == _ROW)


@dataclass(frozen=True, slots=True)
class State:
    """Up to `booked_until_us` the time of silent devices is booked; one that is silent for longer than
    `absent_after_us` is absent. Lines before `lines_from_us` are removed, or soon will be. `zone` is the
    billing time zone that it is booked in; None: no collector has started yet."""

    booked_until_us: int = 0
    absent_after_us: int = 86_400_000_000
    lines_from_us: int = 0
    zone: str | None = None


def read_state(connection: Connection) -> State:
    """The state as it is committed."""
    row = connection.execute(_READ).one_or_none()
    return State(*row) if row else State()


def shared_state(connection: Connection) -> State:
    """The state, which nobody changes before this transaction ends."""
    if not is_sqlite(connection):  # there a writer is alone already
        connection.execute(select(func.pg_advisory_xact_lock_shared(_LOCK)))
    return read_state(connection)


def locked_state(connection: Connection) -> State:
    """The state, for this transaction to change: those that read it as `shared_state` are done, or wait."""
    if not is_sqlite(connection):
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    return read_state(connection)


def write_state(connection: Connection, state: State) -> None:
    """Change the state, which this transaction has locked."""
    values = asdict(state)
    statement = upsert(connection, ledger_state).on_conflict_do_update(index_elements=["id"], set_=values)
    connection.execute(statement, {"id": _ROW, **values})
