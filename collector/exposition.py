"""What Prometheus reads of a collector: the fleet's totals from the database, and how the collector itself is doing.

The totals grow in the transaction that commits the lines, so every replica shows the same numbers and a restart
changes nothing. The database has integers. A sample is the nearest double of µs / 10⁶ or mJ / 10³: the difference of
two samples, rounded to the microsecond, is exact as long as a series is below 2³¹ s (68 GPU-years), and to the
millijoule below 2⁴¹ J.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import BigInteger, Connection, Engine, cast, func, select

from gputally.accounting.states import OwnerKind, State
from gputally.collector.burn import Burn
from gputally.collector.burn_metrics import burn_metrics
from gputally.collector.database import schema
from gputally.collector.database.engine import DATABASE_ERRORS, reading
from gputally.collector.ingest.spool_reports import Spools, read_spools, spool_metrics
from gputally.collector.ingest.stream import IngestStats
from gputally.collector.ingest.writer import WriterStats
from gputally.collector.ledger import postings as ledger
from gputally.collector.ledger.retention import Removed

_US_PER_S = 1_000_000
_MJ_PER_J = 1_000


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


@dataclass(frozen=True, slots=True)
class Work:
    """What this process did since it started; `settled` counts pairs of hour and node."""

    ingest: IngestStats
    writer: WriterStats
    settled: int
    removed: Removed = field(default_factory=Removed)


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


Burns = Callable[[], Sequence[Burn] | None]


def no_burns() -> None:
    """Of a collector that keeps no budgets: nothing is known of them."""


def make_registry(
    books: Callable[[], Books | None], work: Callable[[], Work], burns: Burns = no_burns
) -> CollectorRegistry:
    """A registry that takes a new snapshot at every scrape; `burns` has to answer at once, None: they are not known."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fleet(books, work, burns))
    return registry


class _Fleet(Collector):
    def __init__(self, books: Callable[[], Books | None], work: Callable[[], Work], burns: Burns) -> None:
        self._books = books
        self._work = work
        self._burns = burns

    def collect(self) -> Iterator[Metric]:
        books = self._books()
        yield _gauge("gputally_database_up", "1 while the database can be read, else 0.", int(books is not None))
        # What is not known is absent: a database that is away does not make a fleet of 0 GPUs.
        if books is not None:
            yield _namespace_seconds(books.totals)
            yield _namespace_energy(books.totals)
            yield _capacity(books.totals)
            yield _gap_seconds(books.gaps)
            yield from spool_metrics(books.spools)
            yield _gauge("gputally_ledger_pending", "Hours of nodes that wait to be recomputed.", books.pending)
            yield _gauge("gputally_quarantine_windows", "Refused windows that are kept.", books.quarantined)
            yield _gauge("gputally_quarantine_bytes", "What the refused windows hold.", books.quarantine_bytes)
        burns = self._burns()
        if burns is not None:
            yield from burn_metrics(burns)
        work = self._work()
        yield _counter("gputally_ledger_settled", "Hours of nodes recomputed by this process.", work.settled)
        yield from _ingest(work.ingest)
        yield from _writer(work.writer)
        yield from _retention(work.removed)


def _namespace_seconds(totals: Sequence[Total]) -> Metric:
    family = CounterMetricFamily(
        "gputally_namespace_gpu_seconds",
        "GPU time charged to pods of a namespace, by state.",
        labels=("cluster", "namespace", "model", "state"),
    )
    for total in totals:
        if total.owner_kind == OwnerKind.POD:
            for state, us in zip(State, total.state_us, strict=True):
                family.add_metric((total.cluster, total.namespace, total.model, state.value), us / _US_PER_S)
    return family


def _namespace_energy(totals: Sequence[Total]) -> Metric:
    family = CounterMetricFamily(
        "gputally_namespace_energy_joules",
        "Energy charged to pods of a namespace; absent where none is known.",
        labels=("cluster", "namespace", "model"),
    )
    for total in totals:
        if total.owner_kind == OwnerKind.POD and total.energy_mj is not None:
            family.add_metric((total.cluster, total.namespace, total.model), total.energy_mj / _MJ_PER_J)
    return family


def _capacity(totals: Sequence[Total]) -> Metric:
    family = CounterMetricFamily(
        "gputally_capacity_gpu_seconds",
        "All GPU time, whoever it is charged to, by state.",
        labels=("cluster", "model", "state"),
    )
    sums: Counter[tuple[str, str, State]] = Counter()
    for total in totals:
        for state, us in zip(State, total.state_us, strict=True):
            sums[total.cluster, total.model, state] += us
    for (cluster, model, state), us in sums.items():
        family.add_metric((cluster, model, state.value), us / _US_PER_S)
    return family


def _gap_seconds(gaps: Sequence[Gaps]) -> Metric:
    """A gauge: a late window takes its time away again."""
    family = GaugeMetricFamily(
        "gputally_gap_gpu_seconds",
        "GPU time that no window covers, in the postings that are kept.",
        labels=("cluster", "model"),
    )
    for gap in gaps:
        family.add_metric((gap.cluster, gap.model), gap.gap_us / _US_PER_S)
    return family


def _retention(removed: Removed) -> Iterator[Metric]:
    yield _counter("gputally_retention_windows", "Windows removed with their lines, by age.", removed.windows)
    yield _counter("gputally_retention_postings", "Postings removed, by age.", removed.postings)
    yield _counter(
        "gputally_retention_quarantined_windows", "Refused windows removed, by age or bytes.", removed.quarantined
    )


def _ingest(stats: IngestStats) -> Iterator[Metric]:
    yield _gauge("gputally_ingest_streams", "Agents' streams that are being read.", stats.streams)
    yield _counter("gputally_ingest_batches", "Batches that arrived.", stats.batches)
    yield _counter("gputally_ingest_windows", "Windows that arrived.", stats.windows)
    yield _counter(
        "gputally_ingest_skewed_batches", "Batches of nodes whose clock is over two seconds off.", stats.skewed
    )
    yield _counter(
        "gputally_ingest_turned_away_streams", "Streams whose sender was not let in, or no longer.", stats.turned_away
    )


def _writer(stats: WriterStats) -> Iterator[Metric]:
    yield _counter("gputally_writer_accepted_windows", "Windows committed.", stats.accepted)
    yield _counter("gputally_writer_duplicate_windows", "Windows that were committed before.", stats.duplicates)
    refused = CounterMetricFamily(
        "gputally_writer_refused_windows", "Windows set aside in the quarantine, by reason.", labels=("reason",)
    )
    for reason, windows in sorted(stats.refused.items()):
        refused.add_metric((reason,), windows)
    yield refused
    yield _counter("gputally_writer_lines", "Lines committed.", stats.lines)
    yield _counter("gputally_writer_commits", "Transactions committed.", stats.commits)
    yield _counter("gputally_writer_commit_seconds", "Time that commits took.", stats.commit_seconds)
    yield _counter("gputally_writer_failures", "Transactions that the database did not take.", stats.failures)
    yield _counter("gputally_writer_full", "Times that a window found no room in the queue.", stats.full)
    yield _gauge("gputally_writer_queued_windows", "Windows that wait for the database.", stats.queued)
    yield _gauge(
        "gputally_conservation_error_seconds",
        "What the states of refused windows missed their capacity by; must be 0.",
        stats.conservation_error_us / _US_PER_S,
    )


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
