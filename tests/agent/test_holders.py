"""Who holds which device: shares sum to at most one, and what cannot be told is not called free."""

from fractions import Fraction

from gputally.accounting.keys import REPLICA, Holding, Owner
from gputally.accounting.settlement import Contest
from gputally.accounting.states import OwnerKind
from gputally.agent.held import NOBODY, UNKNOWN, Held
from gputally.agent.holders import Grant, place
from gputally.agent.sample import DeviceInfo

A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
G0, G1 = DeviceInfo("GPU-0", 0, "H100", 4), DeviceInfo("GPU-1", 1, "H100", 5)
REPLICAS = [f"GPU-0::{n}" for n in range(4)]


def test_a_whole_device_is_held_as_a_whole_and_the_others_are_free() -> None:
    assert place([G0, G1], [Grant(A, ("GPU-0",))], []) == {"GPU-0": Held((Holding(A),)), "GPU-1": NOBODY}


def test_ids_by_minor_number_mean_the_same_device() -> None:
    assert place([G0, G1], [Grant(A, ("nvidia5",))], [])["GPU-1"] == Held((Holding(A),))


def test_replicas_of_one_owner_are_one_holding_of_n_of_r() -> None:
    held = place([G0], [Grant(A, ("GPU-0::0", "GPU-0::2")), Grant(B, ("GPU-0::1",))], REPLICAS)["GPU-0"]
    assert {h.owner: h.share for h in held.holdings} == {A: Fraction(1, 2), B: Fraction(1, 4)}
    assert {h.partition for h in held.holdings} == {REPLICA}


def test_replicas_whose_number_is_not_known_have_no_share_and_the_device_is_not_free() -> None:
    assert place([G0], [Grant(A, ("GPU-0::0",))], [])["GPU-0"] == UNKNOWN


def test_of_two_pods_on_one_device_the_later_start_wins() -> None:
    grants = [Grant(A, ("GPU-0",), started_us=10), Grant(B, ("GPU-0",), started_us=20)]
    assert place([G0], grants, [])["GPU-0"].holdings == (Holding(B),)


def test_where_a_start_is_unknown_the_one_first_seen_later_wins() -> None:
    grants = [Grant(A, ("GPU-0",), 30, first_seen_us=2), Grant(B, ("GPU-0",), None, first_seen_us=1)]
    assert place([G0], grants, [])["GPU-0"].holdings == (Holding(A),)


def test_two_pods_first_seen_together_contest_the_device() -> None:
    grants = [Grant(A, ("GPU-0",), first_seen_us=1), Grant(B, ("GPU-0",), first_seen_us=1)]
    assert place([G0], grants, [])["GPU-0"] == Held((), Contest(frozenset({A, B})))


def test_a_contested_replica_leaves_the_others_alone() -> None:
    grants = [Grant(A, ("GPU-0::0",), first_seen_us=1), Grant(B, ("GPU-0::0", "GPU-0::1"), first_seen_us=1)]
    held = place([G0], grants, REPLICAS)["GPU-0"]
    assert held.holdings == (Holding(B, REPLICA, Fraction(1, 4)),)
    assert held.contest == Contest(frozenset({A, B}), Fraction(1, 4))


def test_an_id_that_cannot_be_placed_makes_what_seems_free_unattributable() -> None:
    placed = place([G0, G1], [Grant(A, ("GPU-0",)), Grant(B, ("nvidia0/gi1",))], [])
    assert placed == {"GPU-0": Held((Holding(A),)), "GPU-1": UNKNOWN}


def test_holdings_that_cannot_be_read_yet_do_so_too() -> None:
    assert place([G0], [], [], unclear=True) == {"GPU-0": UNKNOWN}
