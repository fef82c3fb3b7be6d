"""Schedule texts: what they mean, and that each mistake says what was expected."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from gputally.accounting.ledger_hour import to_us
from gputally.agent.simulated.pattern import DAY_US, WEEK_US, Pattern
from gputally.agent.simulated.schedule import ScheduleError, cycle_steps, duration, hours, instant, weekly_steps

HOUR_US = 3_600_000_000


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> int:
    """An instant of the week that begins on Monday 2025-03-03; day 0 is that Monday."""
    return to_us(datetime(2025, 3, 3 + day, hour, minute, second, tzinfo=UTC))


def on_hours(line: Pattern) -> int:
    return line.integral(at(0, 0), at(0, 0) + WEEK_US) // HOUR_US


def test_durations_have_one_unit() -> None:
    assert [duration(text) for text in ("250ms", "90s", "5m", "8h", "2d")] == [
        250_000,
        90_000_000,
        300_000_000,
        8 * HOUR_US,
        2 * DAY_US,
    ]


def test_an_instant_is_absolute_or_counts_from_the_start() -> None:
    assert instant("2025-03-03T10:00:00+02:00", 5) == at(0, 8)
    assert instant("+90s", 5) == 90_000_005


def test_hours_are_on_within_their_spans_only() -> None:
    line = hours(["mon-fri 08:00-18:30"])
    assert [line.at(us) for us in (at(0, 7, 59), at(0, 8), at(4, 18, 29), at(4, 18, 30), at(5, 9))] == [0, 1, 1, 0, 0]
    assert on_hours(line) == 52


def test_a_span_past_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    line = hours(["sun 22:00-06:00"])
    assert [line.at(us) for us in (at(0, 5, 59), at(0, 6), at(6, 21, 59), at(6, 22))] == [1, 0, 0, 1]
    assert on_hours(line) == 8


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("22:00-06:00", 56),
        ("sat,sun", 48),
        ("sun-tue 00:00-24:00", 72),
        ("fri-mon 12:00-13:00", 4),
        ("mon,wed-thu 08:00-09:00", 3),
        ("tue 08:00-08:00", 24),
        ("24:00-01:00", 7),
    ],
)
def test_the_grammar_of_days_and_hours(text: str, total: int) -> None:
    assert on_hours(hours([text])) == total


def test_spans_that_overlap_count_once() -> None:
    assert on_hours(hours(["mon 08:00-12:00", "mon 10:00-14:00"])) == 6


def test_a_weekly_step_holds_until_the_next_one_even_over_the_weekend() -> None:
    line = weekly_steps({"mon-fri 08:00": 60, "mon-fri 18:00:30": 5})
    expected = [5, 60, 60, 5, 5]
    assert [line.at(us) for us in (at(0, 0), at(0, 8), at(2, 18), at(2, 18, 0, 30), at(6, 12))] == expected


def test_a_step_without_days_is_on_every_day() -> None:
    line = weekly_steps({"00:00": 1, "12:00": 3})
    assert {line.at(at(day, 13)) for day in range(7)} == {3}


def test_a_cycle_begins_at_midnight_and_repeats() -> None:
    line = cycle_steps("30m", {"0s": 95, "25m": 10})
    assert [line.at(us) for us in (at(3, 0), at(3, 0, 24), at(3, 0, 25), at(3, 0, 30), at(3, 23, 59))] == [
        95,
        95,
        10,
        95,
        10,
    ]


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda: duration("5 minutes"), "not a duration"),
        (lambda: instant("2025-03-03T10:00:00", 0), "not an instant"),
        (lambda: instant("tomorrow", 0), "not an instant"),
        (lambda: hours(["mo 08:00-09:00"]), "not a day"),
        (lambda: hours(["mon-funday"]), "not a day"),
        (lambda: hours(["08:00"]), "not a time"),
        (lambda: hours(["08:60-09:00"]), "not a time of day"),
        (lambda: hours(["08:00-24:01"]), "not a time of day"),
        (lambda: weekly_steps({}), "no step"),
        (lambda: weekly_steps({"mon 08:00": 1, "08:00": 2}), "another step sets too"),
        (lambda: weekly_steps({"8 o'clock": 1}), "not a time"),
        (lambda: cycle_steps("7h", {"0s": 1}), "divide a day"),
        (lambda: cycle_steps("5s", {"0s": 1}), "at least 10s"),
        (lambda: cycle_steps("1h", {"60m": 1}), "shorter than 1h"),
        (lambda: cycle_steps("1h", {}), "shorter than 1h"),
    ],
)
def test_a_mistake_says_what_was_expected(read: Callable[[], object], words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        read()
