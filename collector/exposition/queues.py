"""Queues as Prometheus reads them: their quotas, and what they had and used today.

Of today and not of the month, because hours are compared one by one, and a fleet's month has many. Whoever makes pods
can name any queue, so of more than MOST those of the most time are shown.
"""

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from gputally.accounting.states import State
from gputally.collector.queues.use import QueueUse

MOST = 500
_QUEUE = ("cluster", "system", "queue")
_US_PER_S = 1_000_000


def queue_metrics(queues: Iterable[QueueUse]) -> Iterator[Metric]:
    """The families of queues; what is not known is absent."""
    shown = sorted(queues, key=lambda use: (-use.reserved_us, use.key))[:MOST]
    yield _quota(shown)
    yield _time(shown)
    yield _of_day("quota", "Quota of whole GPUs times time, this day of the billing time zone so far.", shown)
    yield _of_day("borrowed", "GPU time that a queue's pods reserved beyond its quota, this day, by hours.", shown)


def _quota(shown: Iterable[QueueUse]) -> Metric:
    family = GaugeMetricFamily(
        "gputally_queue_quota",
        "A queue's nominal quota of a resource of GPUs, in its units.",
        labels=(*_QUEUE, "resource", "flavor"),
    )
    for use in shown:
        for quota in (held.quota for held in use.quotas):
            if quota.nominal is not None:
                family.add_metric((*use.key, quota.resource, quota.flavor), quota.nominal)
    return family


def _time(shown: Iterable[QueueUse]) -> Metric:
    family = GaugeMetricFamily(
        "gputally_queue_day_gpu_seconds",
        "GPU time that a queue's pods reserved this day of the billing time zone so far; queue empty: in none.",
        labels=(*_QUEUE, "state"),
    )
    for use in shown:
        for state in (State.USED, State.IDLE, State.UNOBSERVED):
            family.add_metric((*use.key, state.value), getattr(use, f"{state}_us") / _US_PER_S)
    return family


def _of_day(what: str, text: str, shown: Iterable[QueueUse]) -> Metric:
    family = GaugeMetricFamily(f"gputally_queue_day_{what}_gpu_seconds", text, labels=_QUEUE)
    for use in shown:
        us = getattr(use, f"{what}_us")
        if us is not None:
            family.add_metric(use.key, us / _US_PER_S)
    return family
