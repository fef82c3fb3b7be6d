"""/metrics: the last snapshot as Prometheus text. It never asks the driver, and what is not known has no series.

Families are made anew from each snapshot, so the series of a pod that is gone disappear with it. Floats appear here
and nowhere before: seconds and joules from integer microseconds and millijoules.
"""

from collections.abc import Iterator

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gputally.agent.dcgm_names import dcgm_families
from gputally.agent.exposition.device import device_families, partition_families
from gputally.agent.exposition.itself import families_of_itself
from gputally.agent.exposition.pod import pod_families
from gputally.agent.snapshot import Snapshot

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Every family under its own name, also those without a series now."""
    yield from device_families(snapshot)
    yield from partition_families(snapshot)
    yield from pod_families(snapshot)
    yield from families_of_itself(snapshot)


def render(snapshot: Snapshot, *, dcgm_names: bool = False) -> bytes:
    """The snapshot in Prometheus' text format; `dcgm_names`: with what DCGM would call its values, too."""
    return generate_latest(_Families(snapshot, dcgm_names))


class _Families(Collector):
    """What prometheus-client asks for: something with the families of one moment."""

    def __init__(self, snapshot: Snapshot, dcgm_names: bool) -> None:
        self._snapshot = snapshot
        self._dcgm_names = dcgm_names

    def collect(self) -> Iterator[Metric]:
        yield from families(self._snapshot)
        if self._dcgm_names:
            yield from dcgm_families(self._snapshot)
