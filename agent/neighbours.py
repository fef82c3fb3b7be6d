"""Who is on this node, as others tell: the pods by watches of the Kubernetes API, jobs by Slurm, or a scenario's.

`main` builds these first: what they know of the node must be known before its GPUs are touched. So this imports neither
gRPC nor anything else that only comes later.
"""

import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gputally.agent import release
from gputally.agent.attribution.identity import Pods
from gputally.agent.kube.api import KubeApi
from gputally.agent.kube.claim_watch import ClaimWatch
from gputally.agent.kube.pod_watch import PodWatch
from gputally.agent.kube.pods import Pod, PodTable
from gputally.agent.kube.watch import KubeWatch, Watched
from gputally.agent.probe.login_names import LoginNames
from gputally.agent.probe.main import monotonic_us, wall_us
from gputally.agent.release import Release
from gputally.agent.settings import Settings

if TYPE_CHECKING:  # a node has one of the two at most
    from gputally.agent.simulated.scenario import Scenario
    from gputally.agent.slurm_jobs import SlurmJobs

_SYNC_S = 5.0  # how long the first reservations and the first sample wait for what the API knows


class NodePods(Pods, Protocol):
    """The pods of this node: names for owners, and UIDs for the probe."""

    def of_name(self, namespace: str, name: str) -> Pod | None:
        """The pod of this name."""

    def known(self) -> Collection[str]:
        """All UIDs."""


@dataclass(slots=True)
class Watches:
    """What is watched in the Kubernetes API, each by a reader and a thread of its own."""

    pods: PodWatch
    claims: ClaimWatch
    node: KubeWatch[bool]

    @property
    def settled(self) -> bool:
        """Whether each was listed once, or failed to be: nothing more is to be known at once."""
        states = (self.pods.state, self.node.state)
        return self.claims.settled and all(state.synced or state.error for state in states)


@dataclass(slots=True)
class Neighbours:
    """Who is here. `jobs` instead of pods, on a machine of Slurm's; `watches` None: nobody is watched."""

    pods: NodePods
    watches: Watches | None
    release: Release
    jobs: "SlurmJobs | None" = None


def neighbours(settings: Settings, scenario: "Scenario | None", wanted: Release) -> Neighbours:
    """What the settings name; nothing is asked yet."""
    if settings.slurm_jobs is not None:
        jobs = _jobs(settings.slurm_jobs)
        return Neighbours(jobs, None, wanted, jobs)
    if scenario is not None and settings.kube_api is None:
        from gputally.agent.simulated.cluster import SimulatedPods  # nothing of it is loaded on a real node

        return Neighbours(SimulatedPods(scenario, wall_us, monotonic_us), None, wanted)
    table = PodTable()
    watches = _watches(settings, settings.kube_api, table, wanted) if settings.kube_api is not None else None
    return Neighbours(table, watches, wanted)


def _jobs(folder: Path) -> "SlurmJobs":
    from gputally.agent.job_cgroups import living_jobs  # nor is Slurm's on a node of Kubernetes
    from gputally.agent.slurm_jobs import SlurmJobs

    return SlurmJobs(folder, monotonic_us, {0, os.geteuid()}, living_jobs, LoginNames(monotonic_us).of)


def _watches(settings: Settings, url: str, pods: PodTable, wanted: Release) -> Watches:
    def api() -> KubeApi:
        return KubeApi(url, token_file=settings.kube_token_file, ca_file=settings.kube_ca_file)

    node = Watched("Node", ("/api/v1/nodes",), release.asks_for_release, f"metadata.name={settings.node}")
    return Watches(
        PodWatch(api(), settings.node, pods, monotonic_us),
        ClaimWatch(api(), api(), settings.node, monotonic_us),
        KubeWatch(api(), node, wanted, monotonic_us),
    )


def each(watches: Watches | None) -> "tuple[PodWatch | ClaimWatch | KubeWatch[bool], ...]":
    return (watches.pods, watches.claims, watches.node) if watches else ()


def start(found: Neighbours, stop: threading.Event) -> list[threading.Thread]:
    """Begin to watch, and give the API some time: the first reservations are then named."""
    threads = [
        threading.Thread(target=watch.run, args=(stop,), name=type(watch).__name__, daemon=True)
        for watch in each(found.watches)
    ]
    for thread in threads:
        thread.start()
    watches = found.watches
    if watches:
        _wait(lambda: watches.settled, _SYNC_S, stop)
    return threads


def _wait(done: Callable[[], bool], longest_s: float, stop: threading.Event) -> None:
    until_us = monotonic_us() + int(longest_s * 1e6)
    while not done() and monotonic_us() < until_us and not stop.wait(0.05):
        pass
