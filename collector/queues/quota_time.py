"""What quota queues had over time, out of the history: at an instant, and multiplied by time.

Only quota of whole GPUs is multiplied by time, because only its unit is a GPU. A queue of which no such quota is known
has an unknown one, which is not 0; before a queue was made and after it was gone it had none, which is 0.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, or_, select

from gputally.collector.database.schema_queue import queue_quota
from gputally.collector.queues.quota import WHOLE, Quota


class QueueKey(NamedTuple):
    """A queue of a whole cluster; `system` is empty of a platform whose quotas nobody reads."""

    cluster: str
    system: str
    queue: str


@dataclass(frozen=True, slots=True)
class Held:
    """A quota over [from_us, to_us), microseconds since the epoch; None: it still holds."""

    from_us: int
    to_us: int | None
    cohort: str | None
    quota: Quota


class QuotaHistory:
    """The quotas of queues."""

    def __init__(self, held: Mapping[QueueKey, Sequence[Held]]) -> None:
        self._held = held

    @property
    def queues(self) -> Iterable[QueueKey]:
        """Those of which any quota is known."""
        return self._held.keys()

    def at(self, key: QueueKey, at_us: int) -> tuple[Held, ...]:
        """What held at an instant."""
        here = (one for one in self._held.get(key, ()) if one.from_us <= at_us)
        return tuple(one for one in here if one.to_us is None or at_us < one.to_us)

    def time_us(self, key: QueueKey, start_us: int, end_us: int) -> int | None:
        """Whole GPUs of nominal quota times time over [start_us, end_us), in microseconds; None: unknown."""
        whole = [one for one in self._held.get(key, ()) if one.quota.resource == WHOLE]
        if not whole:
            return None
        total_us = 0
        for one in whole:
            us = max(0, (end_us if one.to_us is None else min(end_us, one.to_us)) - max(start_us, one.from_us))
            if us and one.quota.nominal is None:
                return None
            total_us += us * (one.quota.nominal or 0)
        return total_us


def read_quotas(
    connection: Connection, start_us: int, end_us: int, clusters: frozenset[str] | None = None
) -> QuotaHistory:
    """What held in any part of [start_us, end_us); `clusters` None: in all of them."""
    table = queue_quota.c
    query = select(queue_quota).where(
        table.valid_from_us < end_us, or_(table.valid_to_us.is_(None), table.valid_to_us > start_us)
    )
    if clusters is not None:
        query = query.where(table.cluster.in_(sorted(clusters)))
    found: defaultdict[QueueKey, list[Held]] = defaultdict(list)
    for row in connection.execute(query.order_by(*queue_quota.primary_key)).mappings():
        names = ("resource", "flavor", "nominal", "guaranteed", "most", "reserved", "borrowed")
        quota = Quota(*(row[name] for name in names))
        key = QueueKey(row["cluster"], row["system"], row["queue"])
        found[key].append(Held(row["valid_from_us"], row["valid_to_us"], row["cohort"], quota))
    return QuotaHistory(found)
