"""A queue's figures as JSON has them: microseconds, numbers of the resource's units, unknown is null."""

from dataclasses import asdict
from typing import Any

from gputally.collector.queues.use import QueueUse

TIMES = (
    *("used_us", "idle_us", "unobserved_us", "reserved_us", "whole_us", "claimed_us"),
    *("quota_us", "borrowed_us", "unused_us"),
)


def record(use: QueueUse) -> dict[str, Any]:
    """The fields of one queue."""
    return {
        **use.key._asdict(),
        "cohort": use.cohort,
        **{name: getattr(use, name) for name in TIMES},
        "quotas": [asdict(held.quota) for held in use.quotas],
    }
