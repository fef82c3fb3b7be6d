"""Pods whose label asks not to be told of: read of the Kubernetes API, only while there is something to tell."""

import logging
from collections.abc import Callable, Iterable

from gputally.collector.cluster.watch import ClusterError
from gputally.collector.notify.idle_pod import PodKey

_LOG = logging.getLogger(__name__)

LABEL = "gputally.io/idle-alert=off"  # as the rule ReservedGpuIdle has it


def nobody() -> Iterable[PodKey]:
    """Where no Kubernetes API is known, labels are not known."""
    return ()


class ExemptPods:
    """`labelled` lists the (namespace, name) of pods of `cluster` with the label, and may raise ClusterError."""

    def __init__(self, cluster: str, labelled: Callable[[str], Iterable[tuple[str, str]]]) -> None:
        self._cluster = cluster
        self._labelled = labelled
        self._known: frozenset[PodKey] = frozenset()

    def __call__(self) -> Iterable[PodKey]:
        """The pods; where they cannot be read, those that were known last."""
        try:
            self._known = frozenset(PodKey(self._cluster, *names) for names in self._labelled(LABEL))
        except ClusterError as error:
            _LOG.warning("pods that ask not to be told of cannot be read, going by what was known: %s", error)
        return self._known
