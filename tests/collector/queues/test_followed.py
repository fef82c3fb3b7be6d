"""A cluster with Kueue from its API to the figures: pods, their queue and its quota, while the quota changes."""

from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from tests.kube_api import FakeKubeApi
from tests.queues import cluster_queue, local_queue
from tests.watched_pods import gpu_pod
from tests.windows import START_US, all_received, device, pod, reserved, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import WHOLE
from gputally.collector.cluster.build import rules_of, watches_of
from gputally.collector.cluster.watch import QUEUED, ObjectKind
from gputally.collector.database.engine import reading
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import catch_up
from gputally.collector.queues.quota_time import QueueKey
from gputally.collector.queues.use import read_use
from gputally.collector.settings import CollectorSettings

UTC = ZoneInfo("UTC")
MINUTE_US = 60_000_000


class Clock:
    us = START_US

    def __call__(self) -> int:
        return self.us


def test_a_quota_that_falls_makes_borrowed_time_of_what_was_not(engine: Engine) -> None:
    """Two GPUs for two hours, by a quota of two in the first and of one in the second."""
    clock = Clock()
    parts = [device(reserved(pod(), MINUTE_US, 0), uuid=f"GPU-{at}") for at in range(2)]
    windows = [window(*parts, start_us=START_US + at * MINUTE_US) for at in range(120)]
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=START_US + 2 * HOUR_US)
    catch_up(engine, UTC)
    with FakeKubeApi() as server:
        server.served.append("kueue.x-k8s.io/v1beta2")
        server.put(gpu_pod(labels={"kueue.x-k8s.io/queue-name": "lq", "kueue.x-k8s.io/cluster-queue-name": "lie"}))
        server.put(cluster_queue("gold", "2"))
        server.put(local_queue(into="gold"))
        asked = CollectorSettings(database_url="sqlite:////nowhere", cluster="east", kube_api=server.url)
        _, pods, queues = watches_of(asked, rules_of(asked), engine, {}, clock, lambda: 1)
        assert pods.follow(ObjectKind.POD, lambda: True)
        assert [queues.follow(kind, lambda: True) for kind in QUEUED] == [True, True, False]
        clock.us += HOUR_US
        server.put(cluster_queue("gold", "1"))
        assert queues.follow(ObjectKind.CLUSTER_QUEUE, lambda: True)
    with reading(engine) as connection:
        (gold,) = read_use(connection, UTC, Period(START_US, START_US + 2 * HOUR_US), 2**60, WHOLE)
    assert gold.key == QueueKey("east", "kueue", "gold")
    assert (gold.reserved_us, gold.claimed_us) == (4 * HOUR_US, 0)
    assert (gold.quota_us, gold.borrowed_us, gold.unused_us) == (3 * HOUR_US, HOUR_US, 0)
