"""Rounding over a file that comes as a stream: the largest remainders are rounded up, in bounded memory, exactly."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gputally.collector.rates.cost import SCALE
from gputally.collector.rates.cost import rounded as rounded_costs
from gputally.collector.statement import rounding
from gputally.collector.statement.rounding import HOUR, Rounding, fixed, hours, rounded, settle

values = st.lists(st.integers(0, 10**15), max_size=40)


@given(values, st.sampled_from([0, 2, 9]))
def test_each_is_rounded_down_or_up_and_the_sum_is_rounded_once(parts: list[int], digits: int) -> None:
    """Nobody is rounded up whose remainder is smaller than that of one who is rounded down."""
    exact = [Fraction(part * 10**digits, HOUR) for part in parts]
    found = rounded(parts, HOUR, digits)
    ups = [part - int(part) for part, units in zip(exact, found, strict=True) if units > int(part)]
    downs = [part - int(part) for part, units in zip(exact, found, strict=True) if units == int(part)]
    assert len(ups) + len(downs) == len(parts)
    assert sum(found) == int(sum(exact, Fraction(0)) + Fraction(1, 2))
    assert min(ups, default=Fraction(1)) >= max(downs, default=Fraction(0))


@given(st.lists(st.integers(-(10**19), 10**19), max_size=40))
def test_costs_are_rounded_as_the_statement_rounds_them(costs: list[int]) -> None:
    """One rule for what fits into memory and for what does not; corrections below 0 among them."""
    assert rounded(costs, SCALE, 2) == rounded_costs(costs, 2)


@given(st.lists(st.integers(-(10**19), 10**19), min_size=1, max_size=200))
@example([1] * 7 + [2] * 5)
def test_few_buckets_tell_the_same_with_more_looks(parts: Sequence[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounding, "MOST_BUCKETS", 3)
        few = rounded(parts, SCALE, 9)
    assert few == rounded(parts, SCALE, 9)


def test_one_look_is_enough_where_remainders_are_few() -> None:
    looks = []
    of = Rounding(HOUR, 9)

    def look(_: Sequence[Rounding]) -> None:
        looks.append(1)
        of.look(range(50_000))
        of.look(range(50_000, 100_000))

    settle([of], look)
    assert len(looks) == 1
    assert sum(of.round(range(100_000))) == round(Fraction(sum(range(100_000)) * 5, 18))


def test_what_is_0_stays_0_and_an_empty_file_is_settled() -> None:
    assert rounded([0, 0, 3], 6, 0) == [0, 0, 1]
    assert rounded([], HOUR, 9) == []


def test_decimals_are_written_with_their_sign() -> None:
    assert [fixed(value, 2) for value in (-1, 0, 12345)] == ["-0.01", "0.00", "123.45"]
    assert fixed(-7, 0) == "-7"
    assert hours([HOUR, HOUR // 3], 2) == ["1.00", "0.33"]
