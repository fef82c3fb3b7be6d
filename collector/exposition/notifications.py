"""Messages as Prometheus reads them: those who are told must be able to see that telling works."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric

from gputally.collector.exposition.family import PREFIX, counter
from gputally.collector.notify.stats import NotifyStats


def notification_families(stats: NotifyStats) -> Iterator[Metric]:
    """The families of what this process told; without a webhook nothing is told, which is 0."""
    yield counter("notifications_sent", "Messages that the webhook took.", stats.sent)
    yield _by_reason("notifications_failed", "Attempts that the webhook did not take, by reason.", stats.failed)
    yield _by_reason("notifications_suppressed", "Messages not sent on their own, by reason.", stats.suppressed)


def _by_reason(name: str, text: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=("reason",))
    for reason, count in sorted(counts.items()):
        family.add_metric((reason,), count)
    return family
