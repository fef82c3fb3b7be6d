"""Queues as Prometheus sees them: bounded, because pods can name any queue, and unknown is absent."""

from gputally.collector.exposition import queues as module
from gputally.collector.exposition.queues import queue_metrics
from gputally.collector.queues.quota_time import QueueKey
from gputally.collector.queues.use import QueueUse


def test_of_many_queues_those_of_the_most_time_are_shown() -> None:
    many = [QueueUse(QueueKey("east", "", f"q{at:04}"), used_us=at) for at in range(module.MOST + 5)]
    samples = [sample for family in queue_metrics(many) for sample in family.samples]
    assert len(samples) == 3 * module.MOST
    assert {sample.labels["queue"] for sample in samples}.isdisjoint({"q0000", "q0004"})


def test_a_queue_without_a_known_quota_has_no_series_of_it() -> None:
    families = list(queue_metrics([QueueUse(QueueKey("east", "volcano", "batch"), quota_us=None)]))
    assert {family.name for family in families if not family.samples} == {
        "gputally_queue_quota",
        "gputally_queue_day_quota_gpu_seconds",
        "gputally_queue_day_borrowed_gpu_seconds",
    }
