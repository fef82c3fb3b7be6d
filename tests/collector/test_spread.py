"""Spreading the platform's cost is a view: what rows get is what the platform gives, to the last unit."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.allocation.query import Spread
from gputally.collector.allocation.spread import Part, Shared, spread

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


@given(parts, st.sampled_from(list(Spread)))
def test_it_is_conserved_and_nobody_is_given_a_negative_share(parts: list[Part], how: Spread) -> None:
    found = spread(parts, how)
    assert sum(shared.us for shared in found.values()) == 0
    assert sum(shared.cost for shared in found.values()) == 0
    given_away: dict[object, int] = defaultdict(int)
    for one in parts:
        if one.namespace is None:
            given_away[one.row] += one.cost
    assert all(shared.cost >= -given_away[row] for row, shared in found.items())
