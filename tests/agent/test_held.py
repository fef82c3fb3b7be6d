"""Who holds a device, and under which name."""

from fractions import Fraction

import pytest

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.settlement import Contest
from gputally.accounting.states import OwnerKind
from gputally.agent.held import NOBODY, Held, HeldInstance


def owner(container: str, uid: str = "uid-a", pod: str = "train") -> Owner:
    return Owner(OwnerKind.POD, "research", pod, container, uid)


POD = owner("")
CLAIM = Held((Holding(POD, containers=(owner("left"), owner("right"))),))
HOST = Owner(OwnerKind.HOST, user="user-1000")


@pytest.mark.parametrize("container", ["left", "right", "init", ""])
def test_a_pod_holds_a_claim_as_one_whichever_container_runs(container: str) -> None:
    assert CLAIM.as_held(owner(container)) == POD
    assert CLAIM.as_held(owner(container, uid="")) == POD


def test_a_pod_of_the_same_name_made_again_is_another_pod() -> None:
    assert CLAIM.as_held(owner("left", "uid-b")) == owner("left", "uid-b")


def test_a_container_that_holds_nothing_is_its_pods_only_holders() -> None:
    assert Held((Holding(owner("main")),)).as_held(owner("side")) == owner("main")
    several = Held((Holding(owner("main"), share=Fraction(1, 2)), Holding(owner("log"), share=Fraction(1, 2))))
    assert several.as_held(owner("side")) == owner("side")


def test_a_holder_that_is_contested_too_is_still_the_only_one() -> None:
    main = owner("main")
    held = Held((Holding(main, share=Fraction(1, 2)),), Contest(frozenset({main}), Fraction(1, 2)))
    assert held.as_held(owner("side")) == main


def test_a_holder_whose_uid_is_learnt_later_is_the_same() -> None:
    unnamed = owner("main", uid="")
    held = Held((Holding(unnamed),))
    assert held.as_held(owner("main")) == unnamed
    assert held.lists(owner("main"))
    assert not NOBODY.lists(owner("main"))


def test_a_monitor_and_a_host_process_are_who_they_are() -> None:
    held = Held((Holding(owner("main")),), monitors=frozenset({owner("watch")}))
    assert held.as_held(owner("watch")) == owner("watch")
    assert held.as_held(HOST) == HOST


def test_shared_is_what_one_owner_does_not_hold_all_of() -> None:
    half = Fraction(1, 2)
    assert not NOBODY.shared
    assert not Held((Holding(owner("a"), share=half), Holding(owner("a"), "other", half))).shared
    assert Held((Holding(owner("a"), share=half),)).shared
    assert Held((Holding(owner("a"), share=half), Holding(owner("b"), share=half))).shared


def test_a_mig_device_is_held_for_itself_and_one_that_is_not_there_by_nobody() -> None:
    inside = HeldInstance("MIG-1", "1g", Fraction(1, 7), Held((Holding(owner("in")),)))
    held = Held(instances=(inside,))
    assert held.part("MIG-1") is inside.held
    assert held.part("MIG-2") == NOBODY
