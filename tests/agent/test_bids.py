"""Two holders of one thing: the later one counts, one pod is not two, and where nobody is later nobody holds."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.settlement import Contest
from gputally.accounting.states import OwnerKind
from gputally.agent.held import UNKNOWN, Held
from gputally.agent.reservations.bids import Bid, decide, latest_us

A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
SIDE = replace(A, container="side")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
ALL = Fraction(1)


def bid(owner: Owner, started_us: int | None = None, first_seen_us: int = 0, share: Fraction = ALL) -> Bid:
    return Bid(Held((Holding(owner, share=share),)), started_us, first_seen_us)


def test_one_bid_holds() -> None:
    assert decide([bid(A)], ALL) == Held((Holding(A),))
    assert decide([Bid(UNKNOWN, None, 0)], ALL) == UNKNOWN


def test_the_same_holder_listed_twice_holds_once() -> None:
    assert decide([bid(A), bid(A)], ALL) == Held((Holding(A),))


@pytest.mark.parametrize(
    ("of_a", "of_b", "holder"),
    [
        ((10, 0), (20, 0), B),
        ((20, 0), (10, 9), A),
        ((10, 2), (10, 1), A),
        ((None, 1), (10, 2), B),
        ((30, 1), (None, 2), B),
    ],
)
def test_the_later_start_wins_else_the_one_first_seen_later(
    of_a: tuple[int | None, int], of_b: tuple[int | None, int], holder: Owner
) -> None:
    assert decide([bid(A, *of_a), bid(B, *of_b)], ALL) == Held((Holding(holder),))


def test_where_nobody_is_later_the_share_is_contested() -> None:
    half = Fraction(1, 2)
    assert decide([bid(A, share=half), bid(B, share=half)], half) == Held((), Contest(frozenset({A, B}), half))


def test_two_containers_of_one_pod_hold_together() -> None:
    pod = replace(A, container="")
    assert decide([bid(SIDE), bid(A)], ALL) == Held((Holding(pod, containers=(A, SIDE)),))


def test_a_bid_whose_shares_are_not_known_may_win_or_lose() -> None:
    assert decide([bid(A, 10), Bid(UNKNOWN, 20, 0)], ALL) == UNKNOWN
    assert decide([bid(A, 30), Bid(UNKNOWN, 20, 0)], ALL) == Held((Holding(A),))


def test_a_start_that_is_not_known_leaves_the_latest_unknown() -> None:
    assert latest_us([3, 5]) == 5
    assert latest_us([3, None]) is None
    assert latest_us([]) is None


BIDS = st.builds(bid, st.sampled_from([A, SIDE, B]), st.none() | st.integers(0, 2), st.integers(0, 2))


@given(st.lists(BIDS, min_size=1, max_size=5), st.data())
def test_the_order_of_bids_means_nothing(bids: list[Bid], data: st.DataObject) -> None:
    assert decide(bids, ALL) == decide(data.draw(st.permutations(bids)), ALL)
