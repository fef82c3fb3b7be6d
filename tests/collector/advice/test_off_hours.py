"""A service that is idle off hours: what recurs, what is too short, too seldom or not known; and how it is said."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.advised import DAY_US, NOW_US, UTC, office_hours

from gputally.accounting.ledger_hour import HOUR_US, hours
from gputally.collector.advice.advice import Stretch
from gputally.collector.advice.off_hours import SLOTS, Hour, off_hours, slot_of, slots_of
from gputally.collector.advice.words import stretches

BERLIN = ZoneInfo("Europe/Berlin")


def history(days: int = 14) -> list[Hour]:
    """Busy on weekdays from 8 to 20, UTC."""
    found = []
    for us in range(NOW_US - days * DAY_US, NOW_US, HOUR_US):
        hour = office_hours(us)
        found.append(Hour(us, hour.used_us, hour.idle_us, hour.unobserved_us))
    return found


def said(found: list[Hour], zone: ZoneInfo = UTC) -> str | None:
    details = off_hours(found, zone)
    return None if details is None else stretches(details.stretches)


def test_nights_and_weekends_are_said_in_the_billing_time_zone() -> None:
    assert said(history()) == "Mon to Thu 20:00–08:00, Fri 20:00–Mon 08:00"
    assert said(history(), BERLIN) == "Mon to Thu 22:00–10:00, Fri 22:00–Mon 10:00"
    details = off_hours(history(), UTC)
    assert details is not None
    assert (details.hours, details.times, details.days) == (108, 10, 14)


def test_a_week_must_have_been_seen() -> None:
    assert off_hours(history(7), UTC) is not None
    assert off_hours(history(6), UTC) is None
    assert off_hours([], UTC) is None


def test_one_hour_of_use_ends_a_stretch_and_one_weekend_does_not_recur() -> None:
    tuesday_3 = 24 + 3
    used = [Hour(one.start_us, HOUR_US, 0, 0) if slot_of(one.start_us, UTC) == tuesday_3 else one for one in history()]
    assert said(used) == "Mon 20:00–03:00, Tue 04:00–08:00, Tue to Thu 20:00–08:00, Fri 20:00–Mon 08:00"
    weekdays = [replace(one, used_us=HOUR_US) if slot_of(one.start_us, UTC) < 5 * 24 else one for one in history(7)]
    assert said(weekdays) is None, "one weekend is no habit"


def test_a_few_idle_hours_are_no_stretch() -> None:
    lunch = [Hour(us, 0 if us // HOUR_US % 24 < 3 else HOUR_US, HOUR_US, 0) for us in range(0, 14 * DAY_US, HOUR_US)]
    assert said(lunch) is None
    longer = [Hour(us, 0 if us // HOUR_US % 24 < 4 else HOUR_US, HOUR_US, 0) for us in range(0, 14 * DAY_US, HOUR_US)]
    assert said(longer) == "daily 00:00–04:00"


def test_hours_that_were_not_observed_or_not_held_are_not_idle() -> None:
    unseen = [replace(one, unobserved_us=HOUR_US // 5) for one in history()]
    assert said(unseen) is None
    scaled = [one for one in history() if one.used_us]  # no replica off hours: nothing to save
    assert said(scaled) is None


def test_always_idle_is_said_after_two_weeks() -> None:
    idle = [replace(one, used_us=0, idle_us=HOUR_US) for one in history()]
    assert said(idle) == "at all hours"
    assert said([replace(one, used_us=0, idle_us=HOUR_US) for one in history(7)]) is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"])
@given(st.lists(st.booleans(), min_size=SLOTS, max_size=SLOTS), st.integers(0, 3))
def test_no_hour_of_a_stretch_was_ever_used(zone: str, busy: list[bool], from_week: int) -> None:
    """Whatever the clocks do: weeks begin at the change of offset in October, too."""
    start_us = 1_790_812_800_000_000 + from_week * 7 * DAY_US  # 2026-10-01T00:00:00Z
    of = ZoneInfo(zone)
    found = [
        Hour(us, (end_us - us) * busy[slot_of(us, of)], (end_us - us) * (not busy[slot_of(us, of)]), 0)
        for us, end_us in hours(start_us, start_us + 14 * DAY_US, of)
    ]
    details = off_hours(found, of)
    for stretch in () if details is None else details.stretches:
        assert isinstance(stretch, Stretch)
        assert not any(busy[slot] for slot in slots_of(stretch))
