"""Exact splitting: integers that sum to the whole."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.split import ConservationError, largest_remainder

_FRACTIONS = st.lists(st.fractions(min_value=0, max_value=10**9, max_denominator=997), min_size=1, max_size=12)


@given(_FRACTIONS)
def test_rounded_parts_sum_to_the_whole_and_are_off_by_less_than_one(parts: list[Fraction]) -> None:
    last = sum(parts) % 1
    parts[-1] += 1 - last if last else 0
    whole = int(sum(parts))
    rounded = largest_remainder(whole, parts)
    assert sum(rounded) == whole
    assert all(abs(r - p) < 1 for r, p in zip(rounded, parts, strict=True))


def test_equal_remainders_go_to_the_earlier_part() -> None:
    assert largest_remainder(2, [Fraction(2, 3)] * 3) == [1, 1, 0]


def test_a_part_of_nothing_stays_nothing() -> None:
    assert largest_remainder(1, [Fraction(0), Fraction(1, 2), Fraction(1, 2)]) == [0, 1, 0]


@pytest.mark.parametrize(
    ("whole", "parts"),
    [(3, [Fraction(1), Fraction(1)]), (1, [Fraction(2)]), (0, [Fraction(-1), Fraction(1)]), (1, [])],
)
def test_parts_that_cannot_make_the_whole_are_an_error_not_a_silent_fix(whole: int, parts: list[Fraction]) -> None:
    with pytest.raises(ConservationError):
        largest_remainder(whole, parts)
