"""A period is whole ledger hours in the billing time zone, or an error that says how to make it so."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.ledger_hour import hour_start, hours, to_us
from gputally.collector.allocation.period import Period, PeriodError, instant, parse_period

BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")
UTC_ZONE = ZoneInfo("UTC")
NOW_US = to_us(datetime(2026, 3, 31, 23, 30, tzinfo=UTC))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Havana"])


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))


def mistakes(month: str | None, start: str | None, end: str | None, zone: ZoneInfo = UTC_ZONE) -> tuple[str, ...]:
    with pytest.raises(PeriodError) as caught:
        parse_period(month, start, end, zone, NOW_US)
    return caught.value.mistakes


def test_a_month_begins_and_ends_at_local_midnight() -> None:
    period = parse_period("2026-03", None, None, BERLIN, NOW_US)
    assert period == Period(us("2026-03-01T00:00+01:00"), us("2026-04-01T00:00+02:00"))


def test_december_ends_with_the_year() -> None:
    period = parse_period("2026-12", None, None, UTC_ZONE, NOW_US)
    assert period.end_us == us("2027-01-01T00:00Z")


def test_without_a_period_it_is_the_month_that_the_local_calendar_shows() -> None:
    """At 23:30 UTC on 31 March it is April in Berlin."""
    assert parse_period(None, None, None, UTC_ZONE, NOW_US).start_us == us("2026-03-01T00:00Z")
    assert parse_period(None, None, None, BERLIN, NOW_US).start_us == us("2026-04-01T00:00+02:00")


def test_a_stretch_is_given_by_two_instants_with_any_offset() -> None:
    period = parse_period(None, "2026-03-01T05:30:00+05:30", "2026-03-01T02:00:00Z", UTC_ZONE, NOW_US)
    assert period == Period(us("2026-03-01T00:00Z"), us("2026-03-01T02:00Z"))


def test_an_instant_inside_a_ledger_hour_is_refused_with_the_nearest_ones() -> None:
    first, second = mistakes(None, "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", KOLKATA)
    assert first.startswith("--from 2026-03-01T00:00:00Z: no ledger hour of Asia/Kolkata begins there")
    assert first.endswith("the nearest are 2026-03-01T05:00:00+05:30 or 2026-03-01T06:00:00+05:30")
    assert second.startswith("--to ")


@pytest.mark.parametrize("text", ["yesterday", "2026-03-01", "2026-03-01T00:00:00", ""])
def test_an_edge_that_is_no_instant_is_refused(text: str) -> None:
    assert mistakes(None, text, text)[0].endswith("expected an instant with its offset, such as 2026-11-01T00:00:00Z")
    assert len(mistakes(None, text, text)) == 2


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-1", "26-01", "2026-01-01", "0001-01", "٢٠٢٦-01"])
def test_a_month_that_is_none_is_refused(text: str) -> None:
    assert mistakes(text, None, None) == (f"--month {text}: expected YYYY-MM, such as 2026-11",)


def test_two_ways_to_say_it_exclude_each_other() -> None:
    assert "exclude each other" in mistakes("2026-03", "2026-03-01T00:00Z", None)[0]
    assert "go together" in mistakes(None, "2026-03-01T00:00Z", None)[0]
    assert "is not before" in mistakes(None, "2026-03-01T00:00Z", "2026-03-01T00:00Z")[0]


@given(ZONES, st.integers(0, 4_000_000_000), st.integers(1, 40))
def test_what_is_printed_can_be_asked_for_again(name: str, second: int, count: int) -> None:
    zone = ZoneInfo(name)
    start_us = hour_start(second * 1_000_000, zone)
    end_us = [end for (_, end), _ in zip(hours(start_us, 2**53, zone), range(count), strict=False)][-1]
    period = parse_period(None, instant(start_us, zone), instant(end_us, zone), zone, NOW_US)
    assert period == Period(start_us, end_us)


@given(ZONES, st.integers(1971, 2100), st.integers(1, 12))
def test_months_are_whole_ledger_hours_and_follow_each_other(name: str, year: int, month: int) -> None:
    zone = ZoneInfo(name)
    one = parse_period(f"{year}-{month:02}", None, None, zone, NOW_US)
    following = (year + 1, 1) if month == 12 else (year, month + 1)
    other = parse_period(f"{following[0]}-{following[1]:02}", None, None, zone, NOW_US)
    assert hour_start(one.start_us, zone) == one.start_us < one.end_us == other.start_us
