"""Figures as they are printed: they add up, what is unknown is said, and 100 % means all."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.rates.cost import SCALE
from gputally.collector.web import links, words
from gputally.collector.web.bars import HELD, bar

TIMES = st.lists(st.integers(0, 10**15), max_size=20)


def number(text: str) -> float:
    return float(text.replace(",", ""))


@given(TIMES)
def test_hours_of_a_column_add_up(times: list[int]) -> None:
    (whole,) = words.hours([sum(times)])
    assert sum(map(number, words.hours(times))) == pytest.approx(number(whole), abs=0.01)


@given(st.lists(st.none() | st.integers(0, 10**21), min_size=1, max_size=20))
def test_costs_of_a_column_add_up_and_what_is_unknown_is_no_number(costs: list[int | None]) -> None:
    printed = words.money(costs, "EUR")
    assert [text == words.UNPRICED for text in printed] == [cost is None for cost in costs]
    known = [cost for cost in costs if cost is not None]
    (whole,) = words.money([sum(known)], "EUR")
    assert sum(number(text) for text in printed if text != words.UNPRICED) == pytest.approx(number(whole), abs=0.005)


def test_money_has_the_decimals_of_its_currency() -> None:
    assert [words.money([1234 * SCALE], currency)[0] for currency in ("EUR", "JPY", "KWD")] == [
        "1,234.00",
        "1,234",
        "1,234.000",
    ]


@given(st.integers(0, 10**15), st.integers(1, 10**15))
def test_all_is_printed_only_where_it_is_all(missing: int, rest: int) -> None:
    text = words.percent(rest, rest + missing)
    assert (text == "100.0\N{NO-BREAK SPACE}%") == (missing == 0)


def test_a_part_of_nothing_is_unknown() -> None:
    assert words.percent(0, 0) == words.UNKNOWN
    assert words.memory(None, 1) == words.UNKNOWN
    assert words.energy(None) == words.UNKNOWN


@given(st.integers(1, 10**9), st.integers(0, 10**12))
def test_nothing_is_printed_only_of_nothing(part: int, rest: int) -> None:
    assert words.percent(part, part + rest) != words.percent(0, 1)


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (0, "less than a minute"),
        (59, "59 min"),
        (60, "1 h"),
        (61, "1 h 1 min"),
        (24 * 60, "1 d"),
        (26 * 60 + 5, "1 d 2 h"),
        (7 * 24 * 60, "7 d"),
    ],
)
def test_durations_have_two_units_at_most(minutes: int, text: str) -> None:
    assert words.duration(minutes * 60_000_000) == text


def test_instants_are_in_the_billing_time_zone() -> None:
    found = words.moment(1_794_000_000_000_000, ZoneInfo("Asia/Kolkata"))
    assert (found.text, found.iso) == ("7 Nov 2026, 02:50", "2026-11-07T02:50:00+05:30")


@given(st.lists(st.integers(0, 10**12), min_size=5, max_size=5))
def test_a_bars_parts_lie_side_by_side_and_fill_it(times: list[int]) -> None:
    of = Amounts(*times)
    found = bar(of, of.capacity_us)
    ends = [float(one.x[:-1]) + float(one.width[:-1]) for one in found.segments]
    starts = [float(one.x[:-1]) for one in found.segments]
    assert starts[1:] == pytest.approx(ends[:-1], abs=0.002)
    assert not found.segments or ends[-1] == pytest.approx(100, abs=0.002)


def test_a_bar_says_what_it_shows() -> None:
    assert bar(Amounts(HOUR_US, 2 * HOUR_US, HOUR_US), 1, HELD).label == "used 1.0 h, idle 2.0 h"
    assert bar(Amounts(), 0).label == "no time"


def test_links_hold_what_is_asked_for_and_no_more() -> None:
    assert links.link("/", month=None) == "/"
    assert links.link("/", team="a&b=c", month="2026-11") == "/?team=a%26b%3Dc&month=2026-11"
    assert links.namespace("训练/x", cluster="east") == "/namespaces/%E8%AE%AD%E7%BB%83%2Fx?cluster=east"
