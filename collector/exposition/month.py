"""Families of the month so far, as the ledger has it: gauges, because a price or a late window changes what was said.

Each replica reads them once a minute at most, so two of them differ by what came in a minute.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from gputally.accounting.states import OwnerKind
from gputally.collector.exposition.family import PREFIX, gauge
from gputally.collector.exposition.fleet import MOST
from gputally.collector.month import Coverage, Month, Usage
from gputally.collector.rates.cost import SCALE

_US_PER_S = 1_000_000
_NAMESPACE = ("cluster", "namespace", "model")


def month_families(month: Month) -> Iterator[Metric]:
    """What the month costs, what of it has no price, how much of it was seen."""
    pods = [usage for usage in month.usage if usage.owner_kind == OwnerKind.POD]
    shown = sorted(pods, key=lambda usage: -sum(usage.cost.values()))[:MOST]
    yield gauge("month_start_timestamp_seconds", "When the month of these figures began.", month.start_us / _US_PER_S)
    yield gauge("month_read_timestamp_seconds", "When the figures of the month were read.", month.read_us / _US_PER_S)
    yield _namespace_cost(month.currency, shown)
    yield _unpriced(shown)
    yield _capacity_cost(month.currency, month.usage)
    yield _coverage(month.coverage)


def _namespace_cost(currency: str, usage: Iterable[Usage]) -> Metric:
    family = _family(
        "namespace_month_cost",
        "What a namespace's pods cost this month so far, by part: a state, energy, overhead; absent unpriced.",
        *_NAMESPACE,
        "part",
        "currency",
    )
    for each in usage:
        for part, units in each.cost.items():
            family.add_metric((each.cluster, each.namespace, each.model, part, currency), units / SCALE)
    return family


def _unpriced(usage: Iterable[Usage]) -> Metric:
    family = _family(
        "namespace_month_unpriced_gpu_seconds", "GPU time of this month that no rate has a price for.", *_NAMESPACE
    )
    for each in usage:
        family.add_metric((each.cluster, each.namespace, each.model), each.unpriced_us / _US_PER_S)
    return family


def _capacity_cost(currency: str, usage: Sequence[Usage]) -> Metric:
    family = _family(
        "capacity_month_cost",
        "What all GPUs cost this month so far, whoever pays, by part as for a namespace.",
        "cluster",
        "model",
        "owner_kind",
        "part",
        "currency",
    )
    sums: Counter[tuple[str, str, str, str]] = Counter()
    for each in usage:
        for part, units in each.cost.items():
            sums[each.cluster, each.model, each.owner_kind, part] += units
    for labels, units in sums.items():
        family.add_metric((*labels, currency), units / SCALE)
    return family


def _coverage(clusters: Iterable[Coverage]) -> Metric:
    family = _family(
        "month_coverage_ratio", "The part of this month's capacity that was observed, gaps included.", "cluster"
    )
    for each in clusters:
        if each.capacity_us:
            family.add_metric((each.cluster,), 1 - each.unobserved_us / each.capacity_us)
    return family


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)
