"""Keeps the table of this node's pods up to date."""

import random
from collections.abc import Callable

from gputally.agent.kube.api import KubeApi
from gputally.agent.kube.pods import Pod, PodTable, parse_pod
from gputally.agent.kube.watch import KubeWatch, Watched


class PodWatch(KubeWatch[Pod]):
    """The pods that are bound to `node`, into `table`."""

    def __init__(
        self,
        api: KubeApi,
        node: str,
        table: PodTable,
        monotonic_us: Callable[[], int],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        watched = Watched("pod", ("/api/v1/pods",), parse_pod, selector=f"spec.nodeName={node}")
        super().__init__(api, watched, table, monotonic_us, jitter=jitter)
