"""Idle time by kind, as Prometheus reads it: of today, which is small however much is kept.

Time may pass from one kind to another until its pod has ended, so these are gauges.
"""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from gputally.collector.exposition.fleet import MOST
from gputally.collector.rates.cost import SCALE
from gputally.collector.waste.read import WasteRow

_NAMESPACE = ("cluster", "namespace", "kind")
_US_PER_S = 1_000_000


def waste_metrics(rows: Iterable[WasteRow], currency: str) -> Iterator[Metric]:
    """The families of rows by cluster and namespace; of more than MOST those of the most idle time are shown."""
    shown = sorted(rows, key=lambda row: -row.whole.us)[:MOST]
    yield _time(shown)
    yield _cost(shown, currency)


def _time(shown: Sequence[WasteRow]) -> Metric:
    family = GaugeMetricFamily(
        "gputally_namespace_day_idle_gpu_seconds",
        "Idle GPU time of a namespace's pods this day of the billing time zone so far, by kind: the kinds sum to idle.",
        labels=_NAMESPACE,
    )
    for row in shown:
        for kind, one in row.kinds.items():
            family.add_metric((*row.keys, kind.value), one.us / _US_PER_S)
    return family


def _cost(shown: Sequence[WasteRow], currency: str) -> Metric:
    family = GaugeMetricFamily(
        "gputally_namespace_day_idle_cost",
        "What it cost; absent where none of it has a price.",
        labels=(*_NAMESPACE, "currency"),
    )
    for row in shown:
        for kind, one in row.kinds.items():
            if currency and one.cost is not None:
                family.add_metric((*row.keys, kind.value, currency), one.cost / SCALE)
    return family
