"""What agents say of their spools, kept beside their windows: time that never arrives must not vanish quietly."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import BigInteger, Connection, cast, func, select

from gputally.collector.database.engine import upsert
from gputally.collector.database.schema import node, spool_report
from gputally.collector.ingest.admission import Received

_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Spools:
    """All spools of a cluster together; `oldest_us` is the start of the oldest window that waits, None: none does."""

    cluster: str
    refused_windows: int
    refused_us: int
    waiting_windows: int
    oldest_us: int | None


def keep_reports(connection: Connection, received: Iterable[tuple[int, Received]]) -> None:
    """Keep the newest word of each spool; `received` are windows with the ids of their nodes, in order of arrival."""
    newest = {
        (node_id, window.agent_id): {
            "node_id": node_id,
            "agent_id": window.agent_id,
            "refused_windows": window.spool.refused_windows,
            "refused_us": window.spool.refused_us,
            "waiting_windows": window.spool.waiting_windows,
            "oldest_us": window.spool.oldest_us,
            "reported_us": window.received_us,
        }
        for node_id, window in received
        if window.spool
    }
    if not newest:
        return
    insert = upsert(connection, spool_report)
    key = ["node_id", "agent_id"]
    new = {column.name: insert.excluded[column.name] for column in spool_report.c if column.name not in key}
    # A batch of before may be committed later by another replica.
    statement = insert.on_conflict_do_update(
        index_elements=key, set_=new, where=spool_report.c.reported_us <= insert.excluded.reported_us
    )
    connection.execute(statement, [newest[at] for at in sorted(newest)])


def read_spools(connection: Connection) -> list[Spools]:
    """The spools by cluster; what waits counts as last said, also of agents that have been silent since."""
    sums = [
        cast(func.sum(spool_report.c[name]), BigInteger)
        for name in ("refused_windows", "refused_us", "waiting_windows")
    ]
    oldest = func.min(func.nullif(spool_report.c.oldest_us, 0))
    statement = select(node.c.cluster, *sums, oldest).select_from(spool_report).join(node)
    rows = connection.execute(statement.group_by(node.c.cluster).order_by(node.c.cluster))
    return [Spools(*row) for row in rows]


def spool_metrics(spools: Iterable[Spools]) -> Iterator[Metric]:
    """The families; every replica shows the same."""
    refused = CounterMetricFamily(
        "gputally_agent_spool_refused_windows", "Windows that agents' spools could not keep.", labels=["cluster"]
    )
    lost = CounterMetricFamily(
        "gputally_agent_spool_refused_gpu_seconds", "GPU time of these windows: it is unobserved.", labels=["cluster"]
    )
    waiting = GaugeMetricFamily(
        "gputally_agent_spool_waiting_windows", "Windows that wait in agents' spools, as last said.", labels=["cluster"]
    )
    oldest = GaugeMetricFamily(
        "gputally_agent_spool_oldest_timestamp_seconds", "When the oldest window that waits began.", labels=["cluster"]
    )
    for spool in spools:
        refused.add_metric([spool.cluster], spool.refused_windows)
        lost.add_metric([spool.cluster], spool.refused_us / _US_PER_S)
        waiting.add_metric([spool.cluster], spool.waiting_windows)
        if spool.oldest_us is not None:
            oldest.add_metric([spool.cluster], spool.oldest_us / _US_PER_S)
    yield from (refused, lost, waiting, oldest)
