"""The demo's cluster: which objects its Kubernetes API shows at any instant, and how they change.

A function of the scenarios and the time. Pods that have ended stay, with how they ended: so whoever begins to watch
learns of all that the back-fill tells.
"""

from collections.abc import Iterator, Mapping, Sequence

from gputally.agent.simulated.cluster import resources
from gputally.agent.simulated.scenario import Scenario
from gputally.demo.lives import Life, lives
from gputally.demo.objects import Object, made, namespace, node, owner, owner_name, pod

PODS, NODES, NAMESPACES, QUEUES = "pods", "nodes", "namespaces", ("clusterqueues", "localqueues")


class Cluster:
    """Everything in it exists since `since_us`, but for pods that begin later. `queues`: manifests of Kueue's."""

    def __init__(self, nodes: Mapping[str, Scenario], since_us: int, queues: Sequence[Object] = ()) -> None:
        self._nodes = nodes
        self._since_us = since_us
        self._resources = {name: resources(scenario) for name, scenario in nodes.items()}
        names = {one.namespace for scenario in nodes.values() for one in scenario.pods}
        self._fixed = {
            NODES: [node(name, scenario, since_us) for name, scenario in nodes.items()],
            NAMESPACES: [namespace(name, since_us) for name in sorted(names)],
            **{
                plural: [made(one, since_us) for one in queues if plural_of(one["kind"]) == plural] for plural in QUEUES
            },
        }

    def objects(self, plural: str, us: int) -> list[Object]:
        """All pods, or other objects of one kind, at this instant."""
        return [self._pod(life, us) for life in self._lives(us)] if plural == PODS else self._fixed[plural]

    def changes(self, plural: str, after_us: int, until_us: int) -> list[tuple[str, Object]]:
        """What a watch tells of (after_us, until_us], in order: the type of each event, and its object."""
        found: list[tuple[int, str, Object]] = []
        for life in self._lives(until_us) if plural == PODS else ():
            if life.start_us > after_us:
                found.append((life.start_us, "ADDED", self._pod(life, life.start_us)))
            ended_us = life.ended_us(until_us)
            if ended_us is not None and ended_us > after_us:
                found.append((ended_us, "MODIFIED", self._pod(life, ended_us)))
        return [(event, about) for _, event, about in sorted(found, key=lambda one: one[0])]

    def owner(self, api: str, plural: str, of: str, name: str, us: int) -> Object | None:
        """The metadata of an object in the namespace `of`, while it is known as somebody's owner; else None."""
        for life in self._lives(us):
            for number, one in enumerate(life.pod.owners):
                found = (one.api, plural_of(one.kind), life.run.namespace, owner_name(one, life.run))
                if found == (api, plural, of, name):
                    return owner(life, number)
        return None

    def kinds(self, api: str) -> set[str]:
        """The kinds of objects that own pods in an API such as `apps/v1`."""
        pods = (one for scenario in self._nodes.values() for one in scenario.pods)
        return {one.kind for each in pods for one in each.owners if one.api == api}

    def _pod(self, life: Life, us: int) -> Object:
        return pod(life, us, self._resources[life.node])

    def _lives(self, until_us: int) -> Iterator[Life]:
        for name, scenario in self._nodes.items():
            for each in scenario.pods:
                yield from lives(each, name, self._since_us, until_us)


def plural_of(kind: str) -> str:
    """How objects are called in URLs; here no kind needs more than an s."""
    return f"{kind.lower()}s"
