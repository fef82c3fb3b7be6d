"""Whose quota a cluster's GPUs are kept for: the weights by which the platform's cost can be spread.

A namespace has a stake in a queue that its LocalQueues lead into: by the API, where who may make them is a matter of
rights, and not of what somebody writes on a pod. Only where it is asked for, pods are believed about their queues too.
"""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, func, or_, select

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.allocation import whose
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Spread
from gputally.collector.allocation.spread import Stake, Stakes
from gputally.collector.database.schema import posting
from gputally.collector.database.schema_queue import local_queue
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.queues.quota import System
from gputally.collector.queues.quota_time import QueueKey, QuotaHistory, read_quotas

_Namespaces = defaultdict[QueueKey, set[str]]


def read_stakes(connection: Connection, steps: Sequence[Period], how: Spread) -> Stakes:
    """The stakes of each step and cluster, by its quota as far as the ledger has come; none unless spread by quota."""
    if how not in (Spread.QUOTA, Spread.CLAIMED_QUOTA) or not steps:
        return {}
    quotas = read_quotas(connection, steps[0].start_us, steps[-1].end_us)
    until_us = connection.execute(
        select(func.max(posting.c.hour_us)).where(posting.c.hour_us < steps[-1].end_us)
    ).scalar()
    found: defaultdict[tuple[int, str], list[Stake]] = defaultdict(list)
    for at, step in enumerate(steps):
        # The next hour begins an hour later at most: what is longer by minutes weighs the same for all.
        step = Period(step.start_us, min(step.end_us, (until_us or 0) + HOUR_US))
        if step.start_us < step.end_us:
            namespaces = _namespaces(connection, step, claimed=how is Spread.CLAIMED_QUOTA)
            for key, stake in _stakes(quotas, namespaces, step):
                found[at, key.cluster].append(stake)
    return found


def _stakes(quotas: QuotaHistory, namespaces: _Namespaces, step: Period) -> list[tuple[QueueKey, Stake]]:
    times = ((key, quotas.time_us(key, step.start_us, step.end_us)) for key in sorted(quotas.queues))
    return [(key, Stake(us, frozenset(namespaces[key]))) for key, us in times if us and key in namespaces]


def _namespaces(connection: Connection, step: Period, *, claimed: bool) -> _Namespaces:
    """Which namespaces are of which queue in a step."""
    found: _Namespaces = defaultdict(set)
    way = local_queue.c
    held = (way.valid_from_us < step.end_us, or_(way.valid_to_us.is_(None), way.valid_to_us > step.start_us))
    leads = select(way.cluster, way.cluster_queue, way.namespace).where(*held)
    for cluster, queue, namespace in connection.execute(leads):
        found[QueueKey(cluster, System.KUEUE.value, queue)].add(namespace)
    if claimed:
        pod = pod_workload.c
        there = (pod.created_us < step.end_us, or_(pod.gone_us.is_(None), pod.gone_us > step.start_us))
        names = (pod.cluster, whose.system(pod_workload), whose.cluster_queue(pod_workload), pod.namespace)
        for *key, namespace in connection.execute(select(*names).where(*there, pod.queue.is_not(None)).distinct()):
            found[QueueKey(*key)].add(namespace)
    return found
