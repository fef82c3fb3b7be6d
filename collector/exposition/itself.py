"""Families of this process: what came in, what was written, what was removed, since it started."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gputally.collector.exposition.family import counter, gauge
from gputally.collector.exposition.notifications import notification_families
from gputally.collector.ingest.stream import IngestStats
from gputally.collector.ingest.writer import WriterStats
from gputally.collector.ledger.retention import Removed
from gputally.collector.notify.stats import NotifyStats
from gputally.proto.certificate import Validity

_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Work:
    """What this process did since it started; `settled` counts pairs of hour and node.

    `tasks`: what is wrong with those that intake does not wait for, empty where nothing is. `certificate`: of the
    one that this process shows; None: it shows none.
    """

    ingest: IngestStats
    writer: WriterStats
    settled: int
    removed: Removed = field(default_factory=Removed)
    told: NotifyStats = field(default_factory=NotifyStats)
    tasks: Mapping[str, str] = field(default_factory=dict)
    certificate: Validity | None = None


def families_of_itself(work: Work) -> Iterator[Metric]:
    """How this process is doing: each replica has its own."""
    yield counter("ledger_settled", "Hours of nodes recomputed by this process.", work.settled)
    yield from _ingest(work.ingest)
    yield from _writer(work.writer)
    yield from _retention(work.removed)
    yield from notification_families(work.told)
    yield _tasks(work.tasks)
    yield from _certificate(work.certificate)


def _tasks(tasks: Mapping[str, str]) -> Metric:
    family = GaugeMetricFamily(
        "gputally_task_up",
        "Whether a task works that intake does not wait for; /readyz says what is wrong.",
        labels=("task",),
    )
    for name, trouble in tasks.items():
        family.add_metric((name,), not trouble)
    return family


def _certificate(certificate: Validity | None) -> Iterator[Metric]:
    begin = GaugeMetricFamily(
        "gputally_certificate_begin_timestamp_seconds", "When the TLS certificate of this process began."
    )
    end = GaugeMetricFamily(
        "gputally_certificate_end_timestamp_seconds",
        "When the TLS certificate of this process ends; absent where it has none.",
    )
    if certificate:
        begin.add_metric((), certificate.begins_s)
        end.add_metric((), certificate.ends_s)
    yield from (begin, end)


def _ingest(stats: IngestStats) -> Iterator[Metric]:
    yield gauge("ingest_streams", "Agents' streams that are being read.", stats.streams)
    yield counter("ingest_batches", "Batches that arrived.", stats.batches)
    yield counter("ingest_windows", "Windows that arrived.", stats.windows)
    yield counter("ingest_skewed_batches", "Batches of nodes whose clock is over two seconds off.", stats.skewed)
    yield counter("ingest_turned_away_streams", "Streams whose sender was not let in, or no longer.", stats.turned_away)
    yield counter("ingest_failed_streams", "Streams that a defect of this collector has ended.", stats.failed)


def _writer(stats: WriterStats) -> Iterator[Metric]:
    yield counter("writer_accepted_windows", "Windows committed.", stats.accepted)
    yield counter("writer_duplicate_windows", "Windows that were committed before.", stats.duplicates)
    refused = CounterMetricFamily(
        "gputally_writer_refused_windows", "Windows set aside in the quarantine, by reason.", labels=("reason",)
    )
    for reason, windows in sorted(stats.refused.items()):
        refused.add_metric((reason,), windows)
    yield refused
    yield counter("writer_lines", "Lines committed.", stats.lines)
    yield counter("writer_commits", "Transactions committed.", stats.commits)
    yield counter("writer_commit_seconds", "Time that commits took.", stats.commit_seconds)
    yield counter("writer_failures", "Transactions that the database did not take.", stats.failures)
    yield counter("writer_full", "Times that a window found no room in the queue.", stats.full)
    yield gauge("writer_queued_windows", "Windows that wait for the database.", stats.queued)
    yield gauge(
        "conservation_error_seconds",
        "What the states of refused windows missed their capacity by; must be 0.",
        stats.conservation_error_us / _US_PER_S,
    )


def _retention(removed: Removed) -> Iterator[Metric]:
    yield counter("retention_windows", "Windows removed with their lines, by age.", removed.windows)
    yield counter("retention_postings", "Postings removed, by age.", removed.postings)
    yield counter("retention_quarantined_windows", "Refused windows removed, by age or bytes.", removed.quarantined)
