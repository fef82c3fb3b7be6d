"""Columns that are added up by group say what adding up row by row says; what is unknown never becomes 0."""

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.allocation.columns import Groups, sum_of

_KNOWN = st.integers(0, 10**30) | st.just(0)
_ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.none() | _KNOWN)) | st.lists(
    st.tuples(st.sampled_from("abc"), _KNOWN)
)


@given(_ROWS)
def test_a_group_is_the_sum_of_what_is_known_of_it(rows: list[tuple[str, int | None]]) -> None:
    groups = Groups(key for key, _ in rows)
    found = groups.sums([value for _, value in rows])
    assert list(found) == [sum_of([value for key, value in rows if key == group]) for group in groups.keys]
    assert len(found) == len(groups) == len({key for key, _ in rows})


@given(_ROWS, st.randoms())
def test_groups_can_stand_in_any_order(rows: list[tuple[str, int | None]], random: object) -> None:
    groups, column = Groups(key for key, _ in rows), [value for _, value in rows]
    before = dict(zip(groups.keys, groups.sums(column), strict=True))
    order = list(range(len(groups)))
    random.shuffle(order)  # type: ignore[attr-defined]
    wanted = [groups.keys[at] for at in order]
    groups.put_in_order(order)
    assert groups.keys == wanted
    assert dict(zip(groups.keys, groups.sums(column), strict=True)) == before


def test_nothing_is_unknown_and_zero_is_not() -> None:
    assert (sum_of([]), sum_of([None, None]), sum_of([None, 0]), sum_of([1, None, 2])) == (None, None, 0, 3)
