"""Queues in words: what is reserved beside the quota, on one line for all of them."""

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.queues.quota_time import QueueKey
from gputally.collector.queues.use import QueueUse
from gputally.collector.web.queues import _rows


def use(queue: str, hours: int, quota: int | None) -> QueueUse:
    quota_us = None if quota is None else quota * HOUR_US
    return QueueUse(QueueKey("east", "kueue" if queue else "", queue), used_us=hours * HOUR_US, quota_us=quota_us)


def test_the_quota_is_a_place_on_the_bar_where_it_is_known() -> None:
    """The line is as long as the largest quota or reservation; time in no queue comes last, and has none."""
    rows = _rows([use("", 80, None), use("training", 50, 25), use("research", 10, 100), use("volcano", 5, None)])
    assert [row.name for row in rows] == ["training", "research", "volcano", "No queue"]
    assert [row.quota_x for row in rows] == ["25.000%", "100.000%", "", ""]
    assert [row.bar.segments[0].width for row in rows] == ["50.000%", "10.000%", "5.000%", "80.000%"]
    assert rows[0].bar.label == "used 50.0 h; quota 25.0 h"
    assert [row.quota for row in rows[2:]] == ["unknown", "none"]
