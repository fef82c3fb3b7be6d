"""What was wasted, told of workloads: which of them held GPUs idle in which way, the dearest first."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.query import Query
from gputally.collector.jobs.read_pods import JobName
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.read import Kinds, Wasted, read_kinds

_KEYS = (By.CLUSTER, By.NAMESPACE, By.WORKLOAD, By.TEAM)


@dataclass(frozen=True, slots=True)
class Loss:
    """Idle time of one kind, of one workload; `team` is empty where it is not known."""

    name: JobName
    team: str
    kind: Kind
    wasted: Wasted


def read_losses(connection: Connection, zone: ZoneInfo, query: Query) -> tuple[list[Loss], Kinds]:
    """The losses of a query's period, the dearest first, and what they add up to; raises QueryError."""
    found = read_kinds(connection, zone, replace(query, by=_KEYS, step=None))
    losses = [
        Loss(JobName(*row.keys[:3]), row.keys[3], kind, wasted)
        for row in found.rows
        for kind, wasted in row.kinds.items()
        if wasted.us
    ]
    return dearest(losses), found


def dearest(losses: Iterable[Loss]) -> list[Loss]:
    """Those that cost most first; of those without a price, or of one, the longest."""
    return sorted(losses, key=lambda one: (-(one.wasted.cost or 0), -one.wasted.us, one.name, one.team, one.kind))


def called(kind: Kind) -> str:
    """The kind as people say it: `over-asked`, `waiting to start`."""
    return kind.value if kind is Kind.OVER_ASKED else kind.value.replace("-", " ")
