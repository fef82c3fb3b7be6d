"""How a gap is divided: who pays for time that nobody saw, and for its energy."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.gap import Edge, Gap, Span, extent, overlap, without
from gputally.accounting.keys import REPLICA, WHOLE_GPU, Holding, Owner
from gputally.accounting.line import Line
from gputally.accounting.states import OwnerKind, Reason

HOUR = 3_600_000_000
ANN = Owner(OwnerKind.POD, "search", "train", "main", "uid-1")
BEN = Owner(OwnerKind.POD, "vision", "serve", "main", "uid-2")


def gap(
    before: tuple[Holding, ...] = (),
    after: tuple[Holding, ...] = (),
    *,
    spans: tuple[Span, ...] = ((0, HOUR),),
    energy_mj: tuple[int | None, int | None] = (None, None),
    boots: tuple[str, str] = ("a", "a"),
    idle_power_mw: int | None = None,
    unavailable: bool = False,
) -> Gap:
    """A gap of an hour."""
    start, end = spans[0][0], spans[-1][1]
    return Gap(
        Edge(start, boots[0], before, energy_mj[0], idle_power_mw, unavailable),
        Edge(end, boots[1], after, energy_mj[1]),
        spans,
    )


def booked(lines: tuple[Line, ...]) -> dict[tuple[str, str], int]:
    """Unobserved time by owner's pod and partition."""
    assert all(line.key.reason is Reason.NO_SAMPLE for line in lines)
    return {(line.key.owner.pod or "platform", line.key.partition): line.unobserved_us for line in lines}


def whole(found: Gap) -> tuple[Line, ...]:
    """All of it in one piece."""
    return found.lines(found.before.at_us, found.spans[-1][1])


def test_who_held_the_device_on_both_sides_pays() -> None:
    assert booked(whole(gap((Holding(ANN),), (Holding(ANN),)))) == {("train", WHOLE_GPU): HOUR}


@pytest.mark.parametrize("after", [(), (Holding(BEN),), (Holding(ANN, "MIG-1", Fraction(1, 7)),)])
def test_without_the_same_holder_and_partition_on_both_sides_it_is_the_platforms(after: tuple[Holding, ...]) -> None:
    """Nobody can say when the one left and the other came."""
    assert booked(whole(gap((Holding(ANN),), after))) == {("platform", WHOLE_GPU): HOUR}


@pytest.mark.parametrize("shares", [(1, 3), (3, 1)])
def test_the_smaller_of_two_shares_counts(shares: tuple[int, int]) -> None:
    """Replicas may have come or gone in the gap; the rest is the platform's."""
    before, after = (Holding(ANN, REPLICA, Fraction(each, 4)) for each in shares)
    found = booked(whole(gap((before,), (after,))))
    assert found == {("train", REPLICA): HOUR // 4, ("platform", WHOLE_GPU): 3 * HOUR // 4}


def test_an_open_gap_is_the_platforms() -> None:
    open_gap = Gap(Edge(0, "a", (Holding(ANN),), 5), None, ((0, HOUR),))
    assert booked(whole(open_gap)) == {("platform", WHOLE_GPU): HOUR}
    assert all(line.energy_mj is None for line in whole(open_gap))


def test_what_begins_unavailable_stays_unavailable() -> None:
    """Whoever holds it: its energy is the platform's too."""
    lines = whole(gap((Holding(ANN),), (Holding(ANN),), energy_mj=(0, 100), unavailable=True))
    assert [(line.key.owner.pod, line.unavailable_us, line.energy_dynamic_mj) for line in lines] == [("", HOUR, 100)]


def test_idle_energy_goes_by_share_and_the_rest_like_it() -> None:
    """60 W idle for an hour are 216 kJ; nobody is known to have been busy."""
    half = (Holding(ANN, REPLICA, Fraction(1, 2)),)
    lines = whole(gap(half, half, energy_mj=(1_000, 301_000_000), idle_power_mw=60_000))
    assert {(line.energy_idle_mj, line.energy_dynamic_mj) for line in lines} == {(108_000_000, 42_499_500)}


@pytest.mark.parametrize(
    ("energy_mj", "boots"),
    [((None, 9), ("a", "a")), ((9, None), ("a", "a")), ((9, 8), ("a", "a")), ((1, 9), ("a", "b")), ((1, 9), ("", ""))],
)
def test_a_difference_that_means_nothing_is_unknown(
    energy_mj: tuple[int | None, int | None], boots: tuple[str, str]
) -> None:
    """A counter that is not known, went backwards, or belongs to another life of the node: unknown is not 0."""
    lines = whole(gap(energy_mj=energy_mj, boots=boots, idle_power_mw=60_000))
    assert [line.energy_mj for line in lines] == [None]


def test_without_idle_power_all_energy_is_dynamic() -> None:
    (line,) = whole(gap(energy_mj=(1, 8)))
    assert (line.energy_idle_mj, line.energy_dynamic_mj) == (None, 7)


@st.composite
def gaps(draw: st.DrawFn) -> Gap:
    """Any gap: spans with holes, shares that differ, counters that may be unknown."""
    edges = sorted(draw(st.lists(st.integers(0, 5 * HOUR), min_size=2, max_size=8, unique=True)))
    spans = tuple(zip(edges[::2], edges[1::2], strict=False))
    sides = [draw(_holders()) for _ in range(2)]
    energy = draw(st.tuples(*2 * [st.one_of(st.none(), st.integers(0, 10**9))]))
    power = draw(st.one_of(st.none(), st.integers(0, 100_000)))
    return gap(*sides, spans=spans, energy_mj=energy, idle_power_mw=power, unavailable=draw(st.booleans()))


@st.composite
def _holders(draw: st.DrawFn) -> tuple[Holding, ...]:
    owners = draw(st.lists(st.sampled_from([ANN, BEN]), unique=True))
    return tuple(Holding(owner, REPLICA, Fraction(draw(st.integers(1, 3)), 7)) for owner in owners)


@given(gaps(), st.lists(st.integers(-HOUR, 6 * HOUR), max_size=6))
def test_its_parts_sum_to_the_whole(found: Gap, cuts: list[int]) -> None:
    """Every microsecond once, every millijoule once, wherever the ledger's hours cut it; nothing is negative."""
    edges = [-HOUR, *sorted(cuts), 6 * HOUR]
    lines = [line for start, end in pairwise(edges) for line in found.lines(start, end)]
    assert sum(line.capacity_us for line in lines) == sum(end - start for start, end in found.spans)
    before, after = found.before.energy_mj, found.after.energy_mj if found.after else None
    known = before is not None and after is not None and after >= before
    energies = [line.energy_mj for line in lines]
    if known:
        assert sum(energy or 0 for energy in energies) == (after or 0) - (before or 0)
    else:
        assert set(energies) == {None}
    assert all(min(line.unobserved_us, line.unavailable_us, line.energy_mj or 0) >= 0 for line in lines)


def test_a_silent_device_is_absent_after_a_while() -> None:
    assert extent((5, 100), same_life=False, absent_after_us=20) == (5, 25)
    assert extent((5, 10), same_life=False, absent_after_us=20) == (5, 10)


def test_a_node_that_is_found_in_the_same_life_was_there_all_along() -> None:
    """Its kernel ran: the capacity existed, however long the agent was away."""
    assert extent((5, 100), same_life=True, absent_after_us=20) == (5, 100)


def test_what_is_booked_less_far_than_the_gaps_beginning_is_nothing() -> None:
    assert extent((50, 40), same_life=False, absent_after_us=20) == (50, 50)


_spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted).map(tuple), max_size=5)


@given(_spans, _spans)
def test_overlap_and_rest_are_the_whole(spans: list[Span], others: list[Span]) -> None:
    """Compared point by point."""
    first, second = _disjoint(spans), _disjoint(others)
    both, rest = overlap(first, second), without(first, second)
    assert _points(both) == _points(first) & _points(second)
    assert _points(rest) == _points(first) - _points(second)


def _disjoint(spans: list[Span]) -> list[Span]:
    found: list[Span] = []
    for start, end in sorted(spans):
        if start < end and (not found or found[-1][1] <= start):
            found.append((start, end))
    return found


def _points(spans: list[Span] | tuple[Span, ...]) -> set[int]:
    return {point for start, end in spans for point in range(start, end)}
