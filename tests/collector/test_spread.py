"""Spreading the platform's cost is a view: what rows get is what the platform gives, to the last unit."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.allocation.query import Spread
from gputally.collector.allocation.spread import Part, Shared, Stake, Stakes, spread

EAST = (0, "east")


def part(namespace: str | None, us: int, cost: int = 0, row: str = "", cluster: tuple[int, str] = EAST) -> Part:
    return Part(cluster, namespace, row or namespace or "platform", us, cost)


def test_none_moves_nothing() -> None:
    assert not spread([part("a", 1), part(None, 10, 100)], Spread.NONE)


def test_proportional_goes_by_time() -> None:
    found = spread([part("a", 30), part("b", 10), part(None, 8, 400)], Spread.PROPORTIONAL)
    assert (found["a"], found["b"], found["platform"]) == (Shared(6, 300), Shared(2, 100), Shared(-8, -400))


def test_even_gives_every_namespace_the_same_and_its_rows_by_time() -> None:
    parts = [part("a", 30, row="a-1"), part("a", 10, row="a-2"), part("b", 1), part(None, 80, 800)]
    found = spread(parts, Spread.EVEN)
    assert (found["a-1"], found["a-2"], found["b"]) == (Shared(30, 300), Shared(10, 100), Shared(40, 400))


def test_a_cluster_pays_for_its_own_platform() -> None:
    parts = [part("a", 1), part(None, 5, 50), part(None, 7, 70, "other", (0, "west"))]
    found = spread(parts, Spread.PROPORTIONAL)
    assert found["a"] == Shared(5, 50)
    assert "other" not in found


def test_a_namespace_without_time_gets_nothing() -> None:
    found = spread([part("a", 0), part("b", 1), part(None, 4, 4)], Spread.EVEN)
    assert ("a" in found, found["b"]) == (False, Shared(4, 4))


# By quota


def test_a_queues_quota_weighs_for_its_namespaces_and_among_them_by_time() -> None:
    """Whoever keeps more GPUs for itself pays more of what nobody held, however little it ran."""
    stakes = {EAST: [Stake(3000, frozenset({"a"})), Stake(1000, frozenset({"b", "c"}))]}
    found = spread([part("a", 1), part("b", 300), part("c", 100), part(None, 8, 400)], Spread.QUOTA, stakes)
    assert [found[name].cost for name in ("a", "b", "c", "platform")] == [300, 75, 25, -400]


def test_a_queue_whose_namespaces_had_no_time_weighs_nothing_and_who_has_no_quota_pays_nothing() -> None:
    stakes = {EAST: [Stake(1, frozenset({"a"})), Stake(99, frozenset({"away"}))]}
    found = spread([part("a", 1), part("free", 9), part(None, 8, 400)], Spread.CLAIMED_QUOTA, stakes)
    assert found == {"a": Shared(8, 400), "free": Shared(), "platform": Shared(-8, -400)}


def test_where_nobody_has_a_stake_the_platform_keeps_its_cost() -> None:
    for stakes in ({}, {EAST: [Stake(5, frozenset({"away"}))]}, {(1, "east"): [Stake(5, frozenset({"a"}))]}):
        assert not spread([part("a", 1), part(None, 8, 400)], Spread.QUOTA, stakes)


def test_a_statements_namespace_goes_by_its_name() -> None:
    found = spread([part("a/uid-1", 1), part(None, 8, 400)], Spread.QUOTA, {EAST: [Stake(5, frozenset({"a"}))]})
    assert found["a/uid-1"] == Shared(8, 400)


parts = st.lists(
    st.builds(
        part,
        st.sampled_from([None, "a", "b", "c"]),
        st.integers(0, 10**9),
        st.integers(0, 10**30),
        st.sampled_from(["", "x", "y"]),
        st.tuples(st.integers(0, 1), st.sampled_from(["east", "west"])),
    ),
    max_size=12,
)


stakes = st.dictionaries(
    st.tuples(st.integers(0, 1), st.sampled_from(["east", "west"])),
    st.lists(st.builds(Stake, st.integers(0, 10**15), st.frozensets(st.sampled_from(["a", "b", "x"]))), max_size=4),
)


@given(parts, st.sampled_from(list(Spread)), stakes)
def test_it_is_conserved_and_nobody_is_given_a_negative_share(parts: list[Part], how: Spread, stakes: Stakes) -> None:
    found = spread(parts, how, stakes)
    assert sum(shared.us for shared in found.values()) == 0
    assert sum(shared.cost for shared in found.values()) == 0
    given_away: dict[object, int] = defaultdict(int)
    for one in parts:
        if one.namespace is None:
            given_away[one.row] += one.cost
    assert all(shared.cost >= -given_away[row] for row, shared in found.items())


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10**9)), st.integers(0, 10**30), stakes)
def test_by_quota_exactly_the_platforms_cost_is_given_away_or_none_of_it(
    times: dict[str, int], cost: int, stakes: Stakes
) -> None:
    found = spread([*(part(name, us) for name, us in times.items()), part(None, 7, cost)], Spread.QUOTA, stakes)
    takes = {name for stake in stakes.get(EAST, ()) if stake.us for name in stake.namespaces if times.get(name)}
    assert sum(found[name].cost for name in takes if name in found) == (cost if takes else 0)
    assert found.get("platform", Shared()).cost == (-cost if takes else 0)
