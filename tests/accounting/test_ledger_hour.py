"""Where a ledger hour begins, in zones whose clocks are unlike UTC's."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.ledger_hour import HOUR_US, from_us, hour_end, hour_start, hours, to_us

ZONES = ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin", "America/Sao_Paulo"]
KOLKATA = ZoneInfo("Asia/Kolkata")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
BERLIN = ZoneInfo("Europe/Berlin")

zones = st.sampled_from(ZONES).map(ZoneInfo)
instants = st.integers(to_us(datetime(2000, 1, 1, tzinfo=UTC)), to_us(datetime(2037, 1, 1, tzinfo=UTC)))


def us(text: str) -> int:
    """Microseconds of a UTC instant written as 2026-04-04T15:00."""
    return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC))


def starts(first: str, last: str, zone: ZoneInfo) -> list[str]:
    """The starts of the ledger hours that [first, last) touches, as UTC clock times."""
    return [f"{from_us(start):%H:%M}" for start, _ in hours(us(first), us(last), zone)]


def test_kolkatas_hours_begin_at_half_past() -> None:
    """Its offset is 5:30."""
    assert hour_start(us("2026-07-01T10:29:59"), KOLKATA) == us("2026-07-01T09:30")
    assert hour_start(us("2026-07-01T10:30"), KOLKATA) == us("2026-07-01T10:30")
    assert hour_end(us("2026-07-01T10:30"), KOLKATA) == us("2026-07-01T11:30")


def test_local_midnight_begins_an_hour() -> None:
    """So that a billing day is made of whole ledger hours."""
    midnight = datetime(2026, 7, 1, tzinfo=KOLKATA)
    assert hour_start(to_us(midnight), KOLKATA) == to_us(midnight)


def test_lord_howe_ends_summer_time_with_two_short_pieces_instead_of_a_long_hour() -> None:
    """At 15:00 UTC the clock goes from 02:00 back to 01:30: the change begins an hour, and 02:00 the next."""
    assert starts("2026-04-04T14:00", "2026-04-04T17:30", LORD_HOWE) == ["14:00", "15:00", "15:30", "16:30"]


def test_lord_howe_starts_summer_time_with_a_piece_of_half_an_hour() -> None:
    """At 15:30 UTC the clock goes from 02:00 to 02:30: that piece ends when it reads 03:00."""
    assert starts("2026-10-03T14:30", "2026-10-03T17:00", LORD_HOWE) == ["14:30", "15:30", "16:00"]


@pytest.mark.parametrize(("day", "length"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-07-01", 24)])
def test_berlins_days_have_23_24_or_25_hours(day: str, length: int) -> None:
    """The repeated local hour of autumn is two ledger hours: they are named in UTC."""
    first = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
    last = first.replace(day=first.day + 1)
    pieces = list(hours(to_us(first), to_us(last), BERLIN))
    assert len(pieces) == length
    assert {end - start for start, end in pieces} == {HOUR_US}


def test_a_midnight_that_is_skipped_is_a_change_of_offset() -> None:
    """São Paulo's clocks went from 24:00 to 01:00 on 2018-11-04: the day begins there."""
    zone = ZoneInfo("America/Sao_Paulo")
    assert hour_start(us("2018-11-04T03:10"), zone) == us("2018-11-04T03:00")
    assert from_us(us("2018-11-04T03:00")).astimezone(zone).hour == 1


def test_a_change_of_offset_may_fall_on_any_second() -> None:
    """Monrovia kept 44 minutes and 30 seconds until 1972-01-07, when its midnight became 00:44:30."""
    change = us("1972-01-07T00:44:30")
    zone = ZoneInfo("Africa/Monrovia")
    assert hour_start(change + 1, zone) == change
    assert hour_end(change, zone) == us("1972-01-07T01:00")
    assert hour_end(hour_start(change - 1, zone), zone) == change


@given(instants, zones)
def test_an_instant_lies_in_its_hour(instant: int, zone: ZoneInfo) -> None:
    """start ≤ instant < end ≤ start + 1 h, and every instant of the hour has that start."""
    start = hour_start(instant, zone)
    end = hour_end(start, zone)
    assert start <= instant < end <= start + HOUR_US
    assert hour_start(start, zone) == hour_start(end - 1, zone) == start
    assert hour_start(end, zone) == end


@given(instants, zones)
def test_an_hour_never_spans_a_change_of_offset(instant: int, zone: ZoneInfo) -> None:
    """A price that holds from a local hour holds for the whole ledger hour."""
    start = hour_start(instant, zone)
    offsets = {from_us(at).astimezone(zone).utcoffset() for at in (start, instant, hour_end(start, zone) - 1)}
    assert len(offsets) == 1


@given(instants, st.integers(1, 5 * HOUR_US), zones)
def test_hours_follow_each_other_without_gap_and_cover_the_period(start: int, length: int, zone: ZoneInfo) -> None:
    """Disjoint periods of whole ledger hours add up (I5)."""
    pieces = list(hours(start, start + length, zone))
    assert pieces[0][0] <= start
    assert pieces[-1][1] >= start + length
    assert all(before[1] == after[0] for before, after in pairwise(pieces))
