"""The chain of owners: as far as it can be read, never in a circle, and never through an owner of another UID."""

from gputally.collector.workloads.chain import controller, owner_chain
from gputally.collector.workloads.pod import OwnerFacts, OwnerReference, PodFacts, unreadable


def owner(kind: str, uid: str, *, managing: bool = True) -> OwnerReference:
    return OwnerReference("apps/v1", kind, f"the-{uid}", uid, managing)


def test_what_manages_the_object_is_its_owner() -> None:
    """Several may be named, for instance by whoever wants the object to go when theirs goes."""
    first, second = owner("StatefulSet", "a", managing=False), owner("StatefulSet", "b")
    assert controller((first, second)) == second
    assert controller((first,)) == first
    assert controller(()) is None


def test_a_chain_that_was_read_to_its_end_is_not_cut() -> None:
    pod = PodFacts("n", "p", owners=(owner("ReplicaSet", "rs"),))
    objects = {"rs": OwnerFacts("rs", owners=(owner("Deployment", "d"),)), "d": OwnerFacts("d")}
    whole = owner_chain(pod, lambda _, one: objects.get(one.uid))
    assert ([link.reference.uid for link in whole.links], whole.cut) == (["rs", "d"], False)
    torn = owner_chain(pod, lambda _, one: objects.get(one.uid) if one.uid == "rs" else None)
    assert ([link.reference.uid for link in torn.links], torn.cut) == (["rs", "d"], True)
    assert torn.last == owner("Deployment", "d")


def test_without_a_right_to_read_owners_the_pods_own_reference_is_known() -> None:
    chain = owner_chain(PodFacts("n", "p", owners=(owner("ReplicaSet", "rs"),)), unreadable)
    assert ([link.reference.uid for link in chain.links], chain.cut) == (["rs"], True)


def test_another_object_of_that_name_is_not_the_owner() -> None:
    pod = PodFacts("n", "p", owners=(owner("StatefulSet", "old"),))
    chain = owner_chain(pod, lambda _, __: OwnerFacts("new", owners=(owner("Deployment", "d"),)))
    assert ([link.reference.uid for link in chain.links], chain.cut) == (["old"], True)


def test_a_pod_that_owns_a_pod_is_passed_over() -> None:
    pod = PodFacts("n", "p", owners=(OwnerReference("v1", "Pod", "driver", "d", controller=True),))
    chain = owner_chain(pod, lambda _, __: OwnerFacts("d", owners=(owner("StatefulSet", "s"),)))
    assert [link.reference.uid for link in chain.links] == ["s"]


def test_a_circle_ends_where_it_closes_also_through_the_pod() -> None:
    pod = PodFacts("n", "p", "pod", owners=(owner("StatefulSet", "a"),))
    back = OwnerFacts("a", owners=(OwnerReference("v1", "Pod", "p", "pod", controller=True),))
    chain = owner_chain(pod, lambda _, __: back)
    assert ([link.reference.uid for link in chain.links], chain.cut) == (["a"], True)
