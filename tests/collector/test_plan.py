"""Which table answers which stretch of a period: the coarsest that knows enough, nothing twice and nothing left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import (
    Cut,
    Detail,
    Part,
    Pieces,
    Summed,
    Used,
    detail,
    is_cut,
    parts,
    pieces,
    uncut,
    within_days,
)
from gputally.collector.rates.changes import Changes

DAY = 24
DAYS = [Summed(at * DAY, (at + 1) * DAY, Detail.POSTING_DAY if at == 4 else Detail.NAMESPACE) for at in range(10)]
MONTHS = [Summed(3 * at * DAY, (3 * at + 3) * DAY, Detail.MONTH) for at in range(3)]  # of three days each


@pytest.mark.parametrize(
    ("keys", "by_node", "expected"),
    [
        ((), False, Detail.NAMESPACE),
        ((By.NAMESPACE, By.TEAM, By.STATE), False, Detail.NAMESPACE),
        ((By.NAMESPACE,), True, Detail.POSTING_DAY),
        ((By.WORKLOAD,), False, Detail.POSTING_DAY),
        ((By.DEVICE, By.REASON), False, Detail.POSTING_DAY),
        ((By.NAMESPACE, By.SOURCE), False, Detail.POSTING),
    ],
)
def test_the_coarsest_table_that_knows_the_keys_is_read(keys: tuple[By, ...], by_node: bool, expected: Detail) -> None:
    assert detail(keys, by_node=by_node) is expected


@given(
    start=st.integers(0, 240),
    length=st.integers(1, 240),
    edges=st.sets(st.integers(0, 480), max_size=5),
    summed=st.sets(st.sampled_from([*DAYS, *MONTHS])),
    needed=st.sampled_from(Detail),
)
def test_every_hour_is_read_once_and_no_edge_lies_within_what_is_read_from_sums(
    start: int, length: int, edges: set[int], summed: set[Summed], needed: Detail
) -> None:
    period = Period(start, start + length)
    common = tuple(sorted({start, *(us for us in edges if start < us < start + length)}))
    found = parts(period, needed, uncut(period, common, summed))
    hours = [hour for part in found for span in part.spans for hour in range(span.start_us, span.end_us)]
    assert sorted(hours) == list(range(start, start + length))
    for part in found:
        if part.detail is not Detail.POSTING:
            of = MONTHS if part.detail is Detail.MONTH else DAYS
            whole = {each for each in of for span in part.spans if _is_in(each, span)}
            assert sum(each.end_us - each.start_us for each in whole) == sum(
                us.end_us - us.start_us for us in part.spans
            )
            assert whole <= summed
            assert part.detail in (needed, Detail.POSTING_DAY) or needed <= Detail.NAMESPACE
            assert part.detail is Detail.POSTING_DAY or all(each.detail is part.detail for each in whole)
            assert not [us for us in common for each in whole if each.start_us < us < each.end_us]


def _is_in(each: Summed, span: Period) -> bool:
    return span.start_us <= each.start_us and each.end_us <= span.end_us


def test_a_month_is_read_instead_of_its_days_where_it_knows_enough_and_no_edge_lies_within_it() -> None:
    period, summed = Period(0, 9 * DAY), [*DAYS[:9], *MONTHS]
    found = parts(period, Detail.NAMESPACE, uncut(period, (0, 4 * DAY), summed))
    assert found == (
        Part(Detail.MONTH, (Period(0, 3 * DAY), Period(6 * DAY, 9 * DAY))),
        Part(Detail.NAMESPACE, (Period(3 * DAY, 4 * DAY), Period(5 * DAY, 6 * DAY))),
        Part(Detail.POSTING_DAY, (Period(4 * DAY, 5 * DAY),)),
    )
    assert parts(period, Detail.POSTING_DAY, summed) == (Part(Detail.POSTING_DAY, (period,)),)


def test_a_day_that_is_not_sealed_is_read_from_its_postings_sums() -> None:
    found = parts(Period(0, 6 * DAY), Detail.NAMESPACE, DAYS[:6])
    assert found == (
        Part(Detail.NAMESPACE, (Period(0, 4 * DAY), Period(5 * DAY, 6 * DAY))),
        Part(Detail.POSTING_DAY, (Period(4 * DAY, 5 * DAY),)),
    )


def test_what_is_cut_within_a_day_is_read_from_postings_and_nowhere_else() -> None:
    cut = Cut(DAYS[1], ("search",), ())
    found = parts(Period(0, 3 * DAY), Detail.NAMESPACE, DAYS[:3], [cut])
    assert found == (
        Part(Detail.NAMESPACE, (Period(0, 3 * DAY),), without=(cut,)),
        Part(Detail.POSTING, (Period(DAY, 2 * DAY),), only=(cut,)),
    )


def test_a_name_is_cut_only_where_it_has_time_on_both_sides() -> None:
    """What is new in the middle of a day has none before."""
    assert within_days({"search": (DAY, DAY + 5), "vision": (2 * DAY,)}, DAYS) == {DAYS[1]: ["search"]}
    assert is_cut([DAY + 5], Used(DAY + 4, DAY + 5))
    assert not is_cut([DAY + 5], Used(DAY + 5, DAY + 9))
    assert not is_cut([DAY + 5], Used(DAY, DAY + 4))


def test_a_period_is_cut_for_all_where_prices_change_and_for_some_where_only_they_do() -> None:
    changes = Changes((5,), {"search": (7, 9)}, {"node-a": (9,)})
    assert pieces([0, 6], changes) == Pieces((0, 5, 6, 7, 9), (0, 5, 6), ("search",), ("node-a",))
    assert pieces([0], Changes((5,))) == Pieces((0, 5), (0, 5))
