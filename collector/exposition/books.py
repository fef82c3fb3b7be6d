"""What the database says of the fleet at one instant.

The totals grow in the transaction that commits the lines, so every replica shows the same numbers and a restart
changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, Engine, cast, func, select

from gputally.accounting.states import State
from gputally.collector.database import schema
from gputally.collector.database.engine import DATABASE_ERRORS, reading
from gputally.collector.ingest.spool_reports import Spools, read_spools
from gputally.collector.ledger import postings as ledger


@dataclass(frozen=True, slots=True)
class Total:
    """All committed time of one (cluster, owner kind, namespace, model), microseconds by state.

    `energy_mj` is None while no energy of it is known.
    """

    cluster: str
    owner_kind: str
    namespace: str
    model: str
    state_us: tuple[int, ...]
    energy_mj: int | None


@dataclass(frozen=True, slots=True)
class Gaps:
    """Time of one (cluster, model) that no window covers, microseconds, as the postings have it now."""

    cluster: str
    model: str
    gap_us: int


@dataclass(frozen=True, slots=True)
class LastWindow:
    """When the last window of a node began that is kept, microseconds since the epoch."""

    cluster: str
    node: str
    start_us: int


@dataclass(frozen=True, slots=True)
class Books:
    """What the database says at one instant; `pending` counts pairs of hour and node that wait to be settled.

    `quarantined` counts the windows in the quarantine, `quarantine_bytes` what they hold.
    """

    totals: tuple[Total, ...]
    pending: int
    gaps: tuple[Gaps, ...] = ()
    quarantined: int = 0
    quarantine_bytes: int = 0
    spools: tuple[Spools, ...] = ()
    last_windows: tuple[LastWindow, ...] = ()


# PostgreSQL sums bigints to numeric; the floats of a sample begin after the sum.
_GAPS = (
    select(schema.node.c.cluster, schema.device.c.model, cast(func.sum(schema.posting.c.gap_us), BigInteger))
    .select_from(schema.posting)
    .join(schema.node)
    .join(schema.device)
    .where(schema.posting.c.gap_us > 0)
    .group_by(schema.node.c.cluster, schema.device.c.model)
    .order_by(schema.node.c.cluster, schema.device.c.model)
)
_QUARANTINE = select(
    func.count(), cast(func.coalesce(func.sum(func.length(schema.quarantine.c.message)), 0), BigInteger)
).select_from(schema.quarantine)

# By the key of node and start: one look into the index for each node, however many windows there are.
_LAST_START = select(func.max(schema.window.c.start_us)).where(schema.window.c.node_id == schema.node.c.id)
_LAST_WINDOWS = select(schema.node.c.cluster, schema.node.c.name, _LAST_START.scalar_subquery()).order_by(
    schema.node.c.cluster, schema.node.c.name
)


def read_books(engine: Engine) -> Books | None:
    """The totals as they are now; None where the database cannot be read."""
    try:
        with reading(engine) as connection:
            return Books(
                tuple(_totals(connection)),
                ledger.pending(connection),
                tuple(Gaps(*row) for row in connection.execute(_GAPS)),
                *connection.execute(_QUARANTINE).one(),
                tuple(read_spools(connection)),
                tuple(LastWindow(*row) for row in connection.execute(_LAST_WINDOWS) if row[2] is not None),
            )
    except DATABASE_ERRORS:
        return None


def _totals(connection: Connection) -> Iterator[Total]:
    table = schema.namespace_total.c
    states = [table[f"{state}_us"] for state in State]
    keys = (table.cluster, table.owner_kind, table.namespace, table.model)
    rows = connection.execute(select(*keys, table.energy_idle_mj, table.energy_dynamic_mj, *states).order_by(*keys))
    for cluster, kind, namespace, model, idle_mj, dynamic_mj, *state_us in rows:
        known = [energy for energy in (idle_mj, dynamic_mj) if energy is not None]
        yield Total(cluster, kind, namespace, model, tuple(state_us), sum(known) if known else None)
