"""Families of the fleet: time and energy by namespace and in all, from the totals that every replica reads.

The database has integers. A sample is the nearest double of µs / 10⁶ or mJ / 10³: the difference of two samples,
rounded to the microsecond, is exact as long as a series is below 2³¹ s (68 GPU-years), and to the millijoule below
2⁴¹ J. A fleet has few namespaces and models, but nobody promised that: of more than MOST the largest are shown.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gputally.accounting.states import OwnerKind, State
from gputally.collector.exposition.books import Books, Gaps, LastWindow, Total
from gputally.collector.exposition.family import gauge
from gputally.collector.ingest.spool_reports import spool_metrics

MOST = 2000  # triples of cluster, namespace and model; each has five states and an energy
_US_PER_S = 1_000_000
_MJ_PER_J = 1_000


def fleet_families(books: Books) -> Iterator[Metric]:
    """What the database says; without one none of it is known."""
    pods = [total for total in books.totals if total.owner_kind == OwnerKind.POD]
    shown = _largest(pods)
    yield _namespace_seconds(shown)
    yield _namespace_energy(shown)
    yield gauge("namespace_series_left_out", "Namespaces by model beyond the largest 2000.", len(pods) - len(shown))
    yield _capacity(books.totals)
    yield _gap_seconds(books.gaps)
    yield _last_windows(books.last_windows)
    yield from spool_metrics(books.spools)
    yield gauge("ledger_pending", "Hours of nodes that wait to be recomputed.", books.pending)
    yield gauge("quarantine_windows", "Refused windows that are kept.", books.quarantined)
    yield gauge("quarantine_bytes", "What the refused windows hold.", books.quarantine_bytes)


def _largest(totals: Sequence[Total]) -> Sequence[Total]:
    """Those with the most time, in the order of their names; where it is the same the earlier name."""
    if len(totals) <= MOST:
        return totals
    kept = {id(total) for total in sorted(totals, key=lambda total: -sum(total.state_us))[:MOST]}
    return [total for total in totals if id(total) in kept]


def _namespace_seconds(totals: Sequence[Total]) -> Metric:
    family = CounterMetricFamily(
        "gputally_namespace_gpu_seconds",
        "GPU time charged to pods of a namespace, by state.",
        labels=("cluster", "namespace", "model", "state"),
    )
    for total in totals:
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
        if total.energy_mj is not None:
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


def _last_windows(nodes: Sequence[LastWindow]) -> Metric:
    family = GaugeMetricFamily(
        "gputally_node_last_window_timestamp_seconds",
        "When the last committed window of a node began.",
        labels=("cluster", "node"),
    )
    for last in nodes:
        family.add_metric((last.cluster, last.node), last.start_us / _US_PER_S)
    return family
