"""A window is whole ledger hours, named as OpenCost names them, or an error that says what would be one."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.ledger_hour import hour_end, hour_start, to_us
from gputally.collector.allocation.asked_period import asked_period
from gputally.collector.allocation.period import Period, PeriodError

BERLIN, UTC, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"), ZoneInfo("Asia/Kolkata")
NOW = "2026-03-31T23:30:00+02:00"  # a Tuesday


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))


def asked(text: str, zone: ZoneInfo = BERLIN, now: str = NOW) -> Period:
    return asked_period(text, zone, us(now))


def mistakes(text: str, zone: ZoneInfo = BERLIN) -> tuple[str, ...]:
    with pytest.raises(PeriodError) as caught:
        asked(text, zone)
    return caught.value.mistakes


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("today", "2026-03-31T00:00+02:00", "2026-04-01T00:00+02:00"),
        ("yesterday", "2026-03-30T00:00+02:00", "2026-03-31T00:00+02:00"),
        ("week", "2026-03-30T00:00+02:00", "2026-04-06T00:00+02:00"),
        ("lastweek", "2026-03-23T00:00+01:00", "2026-03-30T00:00+02:00"),
        ("month", "2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00"),
        ("lastmonth", "2026-02-01T00:00+01:00", "2026-03-01T00:00+01:00"),
        ("2026-03", "2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00"),
        ("24h", "2026-03-31T00:00+02:00", "2026-04-01T00:00+02:00"),
        ("7d", "2026-03-24T23:00+01:00", "2026-04-01T00:00+02:00"),  # 168 hours, whatever the clock did
    ],
)
def test_names_and_lengths_are_of_the_zones_calendar(name: str, start: str, end: str) -> None:
    assert asked(name) == Period(us(start), us(end))


def test_two_instants_are_rfc_3339_or_seconds_since_the_epoch() -> None:
    wanted = Period(us("2026-03-01T00:00Z"), us("2026-03-02T00:00Z"))
    assert asked("2026-03-01T00:00:00Z,2026-03-02T01:00:00+01:00") == wanted
    assert asked("1772323200,1772409600") == wanted


def test_what_is_no_window_is_told_what_would_be_one() -> None:
    assert mistakes("lastmont")[0].endswith("did you mean lastmonth?")
    assert "is not before" in mistakes("2026-03-02T00:00Z,2026-03-01T00:00Z")[0]
    assert mistakes("2026-13")[0].startswith("2026-13: no such month")
    assert len(mistakes("2026-03-01,x")) == 2
    assert "%2B" in mistakes("2026-03-01T00:00:00 01:00,2026-03-02T00:00:00Z")[0]
    assert "the nearest are 2026-03-01T05:00:00+05:30 or" in mistakes("2026-03-01T00:00Z,2026-03-01T01:30Z", KOLKATA)[0]


@pytest.mark.parametrize("text", ["900d", "99999h", "1970-01-01T00:00:00Z,2026-01-01T00:00:00Z"])
def test_longer_than_postings_are_kept_is_refused(text: str) -> None:
    assert "longer than the 800 days" in mistakes(text)[0]


@pytest.mark.parametrize(
    "text", ["", ",", "0d", "-1d", "9999-12-31T23:59:59Z,x", "0001-01-01T00:00:00+23:59,5", "9999-12"]
)
def test_nothing_that_is_sent_makes_it_fall_over(text: str) -> None:
    assert all(mistakes(text))


@given(st.text(max_size=40))
def test_any_text_is_a_period_or_a_mistake(text: str) -> None:
    try:
        found = asked(text)
    except PeriodError:
        return
    assert found.start_us < found.end_us


@given(
    st.sampled_from(["today", "week", "lastmonth", "24h", "7d", "1h"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Havana"]),
    st.integers(10**9, 4 * 10**9),
)
def test_every_window_is_whole_ledger_hours(text: str, name: str, now_s: int) -> None:
    zone = ZoneInfo(name)
    found = asked_period(text, zone, now_s * 1_000_000)
    assert hour_start(found.start_us, zone) == found.start_us
    assert hour_end(hour_start(found.end_us - 1, zone), zone) == found.end_us
