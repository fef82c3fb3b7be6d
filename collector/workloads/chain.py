"""The owners of a pod, from the nearest to the outermost that can be read."""

from dataclasses import dataclass

from gputally.collector.workloads.pod import Lookup, OwnerFacts, OwnerReference, PodFacts

MOST_OWNERS = 12  # a Knative inference service has seven
_TRANSPARENT = ("Pod", "Node")  # a pod that made pods was made by somebody itself; a static pod is nobody's


@dataclass(frozen=True, slots=True)
class Link:
    """One owner; `facts` is None where it could not be read."""

    reference: OwnerReference
    facts: OwnerFacts | None


@dataclass(frozen=True, slots=True)
class Chain:
    """The owners, the nearest first. `cut`: somebody may own the last one, and who that is could not be read."""

    links: tuple[Link, ...] = ()
    cut: bool = False

    @property
    def last(self) -> OwnerReference | None:
        """The outermost owner that is known."""
        return self.links[-1].reference if self.links else None


def owner_chain(pod: PodFacts, lookup: Lookup) -> Chain:
    """Follows the references from a pod; it ends at a cycle and after `MOST_OWNERS` lookups, as if cut there."""
    links: list[Link] = []
    seen = {pod.uid}
    reference = controller(pod.owners)
    for _ in range(MOST_OWNERS):
        if reference is None:
            return Chain(tuple(links))
        if reference.uid in seen:
            break
        seen.add(reference.uid)
        facts = _read(pod.namespace, reference, lookup)
        if reference.key not in _TRANSPARENT:
            links.append(Link(reference, facts))
        if facts is None:
            break
        reference = controller(facts.owners)
    return Chain(tuple(links), cut=True)


def controller(owners: tuple[OwnerReference, ...]) -> OwnerReference | None:
    """The owner that manages the object; where none says so, the first."""
    return next((owner for owner in owners if owner.controller), owners[0] if owners else None)


def _read(namespace: str, reference: OwnerReference, lookup: Lookup) -> OwnerFacts | None:
    """The owner itself, and not one that was later created under its name."""
    facts = lookup(namespace, reference)
    return facts if facts is not None and facts.uid == reference.uid else None
