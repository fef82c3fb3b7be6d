"""Patterns: closed forms that agree with adding up, for any instant in any order."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.simulated.pattern import DAY_US, FOREVER_US, WEEK_US, Pattern, constant, peak, weekly

MONDAY_US = 1_735_516_800_000_000  # 2024-12-30, a Monday
NEAR_US = st.integers(MONDAY_US - WEEK_US, MONDAY_US + 3 * WEEK_US)

STEPS = st.dictionaries(st.integers(0, WEEK_US - 1), st.integers(0, 100), min_size=1, max_size=8)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    from_us = draw(st.one_of(st.just(0), NEAR_US))
    until_us = draw(st.one_of(st.just(FOREVER_US), NEAR_US))
    return weekly(draw(STEPS).items(), from_us, until_us)


def added_up(line: Pattern, start_us: int, end_us: int) -> int:
    """The integral the slow way: piece by piece between all places where the value can change."""
    inside = {us for us in (line.from_us, line.until_us) if start_us < us < end_us}
    marks = sorted({start_us, end_us, *inside, *line.changes(start_us, end_us)})
    return sum(line.at(a) * (b - a) for a, b in pairwise(marks))


@given(patterns(), NEAR_US, st.integers(0, 2 * WEEK_US))
def test_the_integral_is_the_sum_of_its_pieces(line: Pattern, start_us: int, length_us: int) -> None:
    assert line.integral(start_us, start_us + length_us) == added_up(line, start_us, start_us + length_us)


@given(patterns(), NEAR_US, st.integers(0, WEEK_US), st.integers(0, WEEK_US))
def test_integrals_of_neighbours_add_up(line: Pattern, start_us: int, first_us: int, second_us: int) -> None:
    middle, end = start_us + first_us, start_us + first_us + second_us
    assert line.integral(start_us, middle) + line.integral(middle, end) == line.integral(start_us, end)


@given(STEPS, NEAR_US)
def test_the_pattern_comes_back_each_week(steps: dict[int, int], us: int) -> None:
    line = weekly(steps.items())
    assert line.at(us) == line.at(us + WEEK_US)


@given(patterns(), patterns(), NEAR_US)
def test_a_product_is_the_product_at_every_instant(one: Pattern, other: Pattern, us: int) -> None:
    assert one.times(other).at(us) == one.at(us) * other.at(us)


@given(patterns(), st.integers(0, 5), NEAR_US)
def test_a_scaled_timeline_is_the_multiple_at_every_instant(line: Pattern, factor: int, us: int) -> None:
    assert line.scaled(factor).at(us) == line.at(us) * factor


@given(patterns(), NEAR_US)
def test_a_run_begins_where_its_value_does(line: Pattern, us: int) -> None:
    start = line.run_start(us)
    if start is None:
        assert line.at(us) == 0
        return
    assert start <= us
    assert line.at(start) == line.at(us)
    assert start == line.from_us or line.at(start - 1) != line.at(us)
    assert line.integral(start, us) == line.at(us) * (us - start)


def test_a_run_over_the_end_of_the_week_is_one_run() -> None:
    line = weekly([(0, 1), (6 * 3_600_000_000, 0), (6 * DAY_US, 1)])
    assert line.run_start(MONDAY_US + 1) == MONDAY_US - DAY_US


def test_bounds_include_the_beginning_and_not_the_end() -> None:
    line = constant(7, MONDAY_US, MONDAY_US + 10)
    assert [line.at(MONDAY_US + us) for us in (-1, 0, 9, 10)] == [0, 7, 7, 0]
    assert line.integral(0, FOREVER_US) == 70


def test_equal_steps_are_one_step_and_a_constant_does_not_repeat() -> None:
    assert weekly([(5, 3), (100, 3)]) == constant(3)
    assert not constant(3).repeats
    assert weekly([(0, 3), (100, 4)]).repeats


@given(st.lists(patterns(), min_size=1, max_size=3), NEAR_US)
def test_nothing_is_higher_than_the_peak(lines: list[Pattern], us: int) -> None:
    highest, at_us = peak(lines)
    assert sum(line.at(us) for line in lines) <= highest
    assert sum(line.at(at_us) for line in lines) == highest


def test_nothing_at_all_peaks_at_nothing() -> None:
    assert peak([]) == (0, 0)
