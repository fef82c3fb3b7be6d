"""Steps go forward in the billing time zone, leave nothing out, and begin where its ledger hours do."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.ledger_hour import hour_start, to_us
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.steps import Step, first_of, following, local_date, midnight, steps

HOUR = 3_600_000_000
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia"]


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))


def whole(start: str, end: str) -> Period:
    return Period(us(start), us(end))


def test_a_day_in_which_the_clock_is_set_has_23_or_25_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    march = steps(whole("2026-03-28T00:00+01:00", "2026-03-31T00:00+02:00"), Step.DAY, berlin)
    assert [(day.end_us - day.start_us) // HOUR for day in march] == [24, 23, 24]
    october = steps(whole("2026-10-24T00:00+02:00", "2026-10-27T00:00+01:00"), Step.DAY, berlin)
    assert [(day.end_us - day.start_us) // HOUR for day in october] == [24, 25, 24]


def test_lord_howe_has_a_piece_of_half_an_hour_when_its_clock_is_set() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    hours = steps(whole("2026-04-05T00:00+11:00", "2026-04-05T04:00+10:30"), Step.HOUR, zone)
    assert [(hour.end_us - hour.start_us) * 2 // HOUR for hour in hours] == [2, 2, 1, 2, 2]


def test_the_first_and_the_last_step_are_cut_at_the_period() -> None:
    days = list(steps(whole("2026-03-01T05:00Z", "2026-03-03T02:00Z"), Step.DAY, ZoneInfo("UTC")))
    assert [(day.end_us - day.start_us) // HOUR for day in days] == [19, 24, 2]


def test_a_week_begins_on_monday() -> None:
    weeks = list(steps(whole("2026-03-01T00:00Z", "2026-03-15T00:00Z"), Step.WEEK, ZoneInfo("UTC")))
    assert [local_date(week.start_us, ZoneInfo("UTC")).isoformat() for week in weeks] == [
        "2026-03-01",
        "2026-03-02",
        "2026-03-09",
    ]


@pytest.mark.parametrize("day", [date(2026, 1, 31), date(2026, 12, 31), date(2024, 2, 29)])
def test_the_next_month_begins_on_its_first(day: date) -> None:
    assert following(day, Step.MONTH).day == 1
    assert timedelta(0) < following(day, Step.MONTH) - day <= timedelta(days=31)
    assert first_of(day, Step.MONTH) == day.replace(day=1)


@given(st.sampled_from(ZONES), st.sampled_from(list(Step)), st.integers(0, 4_000_000_000), st.integers(1, 24 * 40))
def test_steps_follow_each_other_and_begin_with_ledger_hours(name: str, step: Step, second: int, hours: int) -> None:
    zone = ZoneInfo(name)
    period = Period(*(hour_start((second + at * 3600) * 1_000_000, zone) for at in (0, hours)))
    found = list(steps(period, step, zone))
    edges = [period.start_us, *(piece.end_us for piece in found)]
    assert [piece.start_us for piece in found] == edges[:-1]
    assert edges[-1] == period.end_us
    assert edges == sorted(set(edges))
    assert all(hour_start(edge, zone) == edge for edge in edges)


@given(st.sampled_from(ZONES), st.dates(date(1971, 1, 1), date(2100, 1, 1)))
def test_a_midnight_shows_its_own_day_or_the_one_that_skipped_it(name: str, day: date) -> None:
    zone = ZoneInfo(name)
    assert local_date(midnight(day, zone), zone) - day in (timedelta(0), timedelta(days=1))
    assert datetime.fromtimestamp(midnight(day, zone) / 1_000_000, UTC).second == 0
