"""What an alert has to say of a pod beside its numbers: who made it, since when, and whether it may be idle."""

from collections.abc import Callable, Iterable, Iterator

from gputally.agent.idle_spell import IdleSpell
from gputally.agent.kube.pods import Pod
from gputally.agent.snapshot import PodInfo

IDLE_ALERT = "gputally.io/idle-alert"  # a label of pods: "off" asks not to be told of idle spells

PodOf = Callable[[str, str], Pod | None]


def pod_infos(spells: Iterable[IdleSpell], pod_of: PodOf) -> Iterator[PodInfo]:
    """Of every pod that holds something, where the API knows it; `pod_of` is by namespace and name."""
    for namespace, name in sorted({(spell.namespace, spell.pod) for spell in spells}):
        pod = pod_of(namespace, name)
        if pod is not None:
            yield _info(pod)


def _info(pod: Pod) -> PodInfo:
    kind, name = next(((owner.kind, owner.name) for owner in pod.owners if owner.controller), ("", ""))
    return PodInfo(pod.namespace, pod.name, kind, name, pod.labels.get(IDLE_ALERT, ""), pod.started_us)
