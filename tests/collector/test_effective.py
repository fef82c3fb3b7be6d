"""What holds when: at most one entry at a time, on ledger hours, overlaps and gaps found."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.ledger_hour import from_us, hour_start
from gputally.collector.files.effective import Series, gaps, note_overlaps, read_hour
from gputally.collector.files.yaml_file import Mistakes, Scalar


@dataclass(frozen=True)
class Entry:
    valid_from_us: int
    valid_to_us: int | None = None
    line: int = 1


def test_an_entry_holds_until_its_end_or_the_next() -> None:
    first, second = Entry(10, 20), Entry(30)
    series = Series([second, first])
    assert [series.at(us) for us in (9, 10, 19, 20, 29, 30, 10**15)] == [None, first, first, None, None, second, second]
    assert series.breakpoints == {10, 20, 30}
    assert [(before.entry, after.entry) for before, after in gaps(series)] == [(first, second)]


def test_a_later_entry_ends_one_without_an_end() -> None:
    first, second = Entry(10), Entry(30, 40)
    series = Series([first, second])
    assert [series.at(us) for us in (29, 30, 40)] == [first, second, None]
    assert list(gaps(series)) == []


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([Entry(10, 20, 1), Entry(20, None, 2)], []),
        ([Entry(10, 21, 1), Entry(20, None, 2)], ["x: overlaps line 1, which ends later than this begins"]),
        ([Entry(10, None, 1), Entry(10, 20, 2)], ["x: line 1 is valid from the same instant"]),
    ],
)
def test_overlaps_are_told_at_the_later_entry(entries: list[Entry], told: list[str]) -> None:
    mistakes = Mistakes()
    note_overlaps(entries, "x", mistakes)
    assert [mistake.text for mistake in mistakes.all] == told


def hour(text: str, zone: str) -> tuple[int | None, list[str]]:
    mistakes = Mistakes()
    return read_hour(Scalar(7, text), "valid_from", ZoneInfo(zone), mistakes), [one.text for one in mistakes.all]


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("2026-11-01", "UTC", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01", "Asia/Kolkata", "2026-10-31T18:30:00+00:00"),
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00:00+00:00"),
        ("2026-07-01T00:30:00Z", "Asia/Kolkata", "2026-07-01T00:30:00+00:00"),
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00+00:00"),  # that midnight was skipped
    ],
)
def test_a_day_is_its_midnight_in_the_billing_zone(text: str, zone: str, utc: str) -> None:
    us, mistakes = hour(text, zone)
    assert mistakes == []
    assert us is not None
    assert from_us(us).isoformat() == utc


def test_an_instant_inside_an_hour_is_refused_with_the_nearest_ones() -> None:
    us, (mistake,) = hour("2026-11-01T10:30:00Z", "UTC")
    assert us is None
    assert "2026-11-01T10:00:00+00:00 or 2026-11-01T11:00:00+00:00" in mistake


@pytest.mark.parametrize("text", ["2026-11", "20261101", "2026-W44-7", "2026-11-01T00:00:00", "soon", "9999-12-31"])
def test_what_is_neither_a_day_nor_an_instant_is_refused(text: str) -> None:
    """A time without an offset means something else on every machine."""
    us, (mistake,) = hour(text, "UTC")
    assert us is None
    assert "expected a day such as 2026-11-01" in mistake


@given(text=st.text(max_size=30) | st.datetimes(timezones=st.just(ZoneInfo("UTC"))).map(lambda at: at.isoformat()))
def test_any_text_is_an_hour_or_a_mistake(text: str) -> None:
    us, mistakes = hour(text, "Australia/Lord_Howe")
    assert (us is None) == bool(mistakes)
    assert us is None or hour_start(us, ZoneInfo("Australia/Lord_Howe")) == us
