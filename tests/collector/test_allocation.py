"""Every answer is the ledger, summed and priced: I5, I6 and what may be seen, over any history and in any time zone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.databases import empty
from tests.windows import (
    MINUTE_US,
    START_US,
    all_received,
    device,
    histories,
    minutes,
    pod,
    reserved,
    unallocated,
    window,
)

from gputally.accounting.ledger_hour import HOUR_US, hour_end, hour_start, to_us
from gputally.accounting.line import Window
from gputally.accounting.states import State
from gputally.collector.allocation import allocation
from gputally.collector.allocation.allocation import Allocation, allocate
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.filter import parse_filter
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.money import Money, total
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, QueryError, Scope, Spread
from gputally.collector.allocation.steps import Step
from gputally.collector.allocation.table import Row
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.rates.card import NANO
from gputally.collector.rates.cost import CARBON_SCALE, carbon_g

UTC = ZoneInfo("UTC")
END_US = START_US + 4 * HOUR_US  # after the last window of any history
DAY = Period(START_US, START_US + 24 * HOUR_US)
# What the clocks of the billing time zone do while the windows of a history are measured.
MOMENTS = {
    "UTC": START_US,
    "Asia/Kolkata": START_US,
    "Europe/Berlin": to_us(datetime(2026, 10, 25, 0, tzinfo=UTC)),  # an hour before it is set back
    "Australia/Lord_Howe": to_us(datetime(2026, 10, 3, 15, tzinfo=UTC)),  # half an hour before it is set
}
every_history = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
groupings = st.lists(st.sampled_from(list(By)), max_size=4).map(tuple)
untold = st.lists(st.sampled_from([key for key in By if key is not By.STATE]), max_size=4).map(tuple)

CARD = """\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2026-01-01, per_gpu_hour: 3.30}
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: "%s", per_gpu_hour: 2.70}
  - {match: {model: NVIDIA H100 80GB HBM3, namespace: vision}, valid_from: 2026-01-01, per_gpu_hour: 1.10}
energy:
  - {valid_from: 2026-01-01, per_kwh: 0.31, pue: 1.3}
"""
TEAMS = """\
version: 1
namespaces:
  - {namespace: search, team: engines, valid_from: 2026-01-01}
  - {namespace: search, team: finders, valid_from: "%s"}
"""


def book(engine: Engine, windows: Sequence[Window], zone: ZoneInfo = UTC) -> None:
    Committer(engine, zone, max_age_us=None).commit(all_received(windows), now_us=END_US)


def apply(engine: Engine, change: str = "2026-07-01T01:00:00Z", at_us: int = 1) -> None:
    """A rate card whose price falls, and a namespace that changes its team, at one instant."""
    apply_file(engine, Kind.RATES, (CARD % change).encode(), "ann@laptop", at_us)
    apply_file(engine, Kind.TEAMS, (TEAMS % change).encode(), "ann@laptop", at_us)


def ask(engine: Engine, *by: By, period: Period = DAY, zone: ZoneInfo = UTC, **rest: object) -> Allocation:
    return allocate(engine, zone, Query(period, zone, by, **rest))  # type: ignore[arg-type]


def costs(found: Allocation, *keys: str) -> Money:
    return total(row.money for row in found.rows if row.keys == keys)


def hours(*first: int) -> list[Window]:
    """A minute of a node in each of some hours of 1 July 2026, of which the namespace search uses 45 s."""
    return [window(start_us=START_US + hour * HOUR_US) for hour in first]


def by_key(rows: Sequence[Row]) -> Mapping[object, tuple[Amounts, Money]]:
    groups: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.keys, row.owner].append(row)
    return {
        key: (summed(row.amounts for row in of_key), total(row.money for row in of_key))
        for key, of_key in groups.items()
    }


# Prices and teams


def test_each_hour_has_the_price_of_its_time(engine: Engine) -> None:
    book(engine, [window(device(reserved(pod(), MINUTE_US, 0)), start_us=start) for start in (START_US, END_US)])
    apply(engine, change="2026-07-01T04:00:00Z")
    found = ask(
        engine, By.NAMESPACE, where=parse_filter('namespace:"search"'), period=Period(START_US, START_US + HOUR_US)
    )
    assert found.money.by_state[0] * 60 == 3_300_000_000 * HOUR_US
    later = ask(engine, By.NAMESPACE, period=Period(END_US, END_US + HOUR_US))
    assert later.money.by_state[0] * 60 == 2_700_000_000 * HOUR_US
    assert later.currency == "EUR"


def test_a_namespace_counts_for_the_team_it_had_then(engine: Engine) -> None:
    book(engine, minutes(120))
    apply(engine, change="2026-07-01T01:00:00Z")
    found = ask(engine, By.TEAM)
    assert sorted((row.keys, row.amounts.capacity_us) for row in found.rows) == [
        (("engines",), HOUR_US),
        (("finders",), HOUR_US),
    ]
    only = ask(engine, By.NAMESPACE, where=parse_filter('team:"finders"'))
    assert only.amounts.capacity_us == HOUR_US


def test_without_a_rate_card_everything_is_unpriced_and_nothing_is_free(engine: Engine) -> None:
    book(engine, minutes(60))
    found = ask(engine, By.NAMESPACE)
    assert (found.currency, found.money.cost, found.money.unpriced_us) == ("", None, HOUR_US)


def test_it_can_be_asked_by_the_rate_card_of_a_day_past(engine: Engine) -> None:
    book(engine, minutes(60))
    apply(engine, change="2026-02-01", at_us=START_US)
    card = (CARD % "2026-02-01").replace("2.70", "9.90")
    apply_file(engine, Kind.RATES, card.encode(), "ann@laptop", START_US + 10)
    cost = {as_of: ask(engine, as_of_us=as_of).money.cost for as_of in (START_US - 1, START_US + 9, None)}
    assert cost[START_US - 1] is None
    assert (cost[START_US + 9], cost[None]) == (2_700_000_000 * HOUR_US, 9_900_000_000 * HOUR_US)


# Carbon

CARBON = """\
carbon:
  - {valid_from: 2026-01-01, valid_to: "2026-07-01T02:00:00Z", g_co2e_per_kwh: 300}
  - match: {namespace: search}
    valid_from: "2026-07-01T01:00:00Z"
    valid_to: "2026-07-01T02:00:00Z"
    g_co2e_per_kwh: 100
"""


def test_each_hour_has_the_carbon_of_its_time_and_energy_without_a_factor_is_told(engine: Engine) -> None:
    """The money is the same: carbon only cuts sums finer."""
    book(engine, minutes(180))
    apply(engine)
    before = ask(engine, By.NAMESPACE).money
    assert (before.carbon, before.no_factor_mj) == (None, 3 * 540_000)
    apply_file(engine, Kind.RATES, (CARD % "2026-07-01T01:00:00Z" + CARBON).encode(), "ann@laptop", 2)
    found = ask(engine, By.NAMESPACE).money
    grams = [carbon_g(540_000, factor * NANO, 1_300_000_000) or 0 for factor in (300, 100)]
    assert (Fraction(found.carbon or 0, CARBON_SCALE), found.no_factor_mj) == (sum(grams), 540_000)
    assert (found.by_state, found.energy, found.overhead) == (before.by_state, before.energy, before.overhead)
    steps = ask(engine, By.NAMESPACE, step=Step.HOUR)
    assert [row.money.carbon for row in steps.rows] == [*(gram * CARBON_SCALE for gram in grams), None]


def test_unmeasured_energy_has_no_carbon(engine: Engine) -> None:
    book(engine, [window(device(reserved(pod(), MINUTE_US, 0, energy_mj=None)))])
    apply_file(engine, Kind.RATES, (CARD % "2026-07-01T01:00:00Z" + CARBON).encode(), "ann@laptop", 1)
    found = ask(engine, By.NAMESPACE)
    assert (found.amounts.energy_mj, found.money.carbon, found.money.no_factor_mj) == (None, None, 0)


def test_carbon_that_changes_too_often_is_left_out_and_costs_are_not(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a step is as short as what changes, it is told."""
    book(engine, minutes(120))
    apply_file(engine, Kind.RATES, (CARD % "2026-02-01" + CARBON).encode(), "ann@laptop", 1)
    whole = ask(engine, By.NAMESPACE).money
    monkeypatch.setattr(allocation, "MAX_CUTS", 0)
    found = ask(engine, By.NAMESPACE).money
    assert (found.carbon, found.no_factor_mj) == (None, 2 * 540_000)
    assert found.by_state == whole.by_state
    assert ask(engine, By.NAMESPACE, step=Step.HOUR).money.carbon == whole.carbon


# Rows


def test_by_state_a_row_is_one_state_and_time_is_all_there(engine: Engine) -> None:
    book(engine, minutes(60))
    apply(engine)
    found = ask(engine, By.STATE)
    assert [(row.keys, row.amounts.capacity_us) for row in found.rows] == [
        (("used",), HOUR_US * 3 // 4),
        (("idle",), HOUR_US // 4),
    ]
    assert found.amounts.energy_mj == 540_000
    assert found.rows[0].amounts.energy_mj is None


def test_states_leave_the_time_of_others_out(engine: Engine) -> None:
    book(engine, minutes(60))
    found = ask(engine, By.NAMESPACE, states=(State.IDLE,))
    assert (found.amounts.capacity_us, found.amounts.idle_us) == (HOUR_US // 4, HOUR_US // 4)


def test_steps_have_rows_of_their_own(engine: Engine) -> None:
    book(engine, minutes(120))
    found = ask(engine, By.NAMESPACE, step=Step.HOUR)
    assert [row.step for row in found.rows] == [
        Period(START_US, START_US + HOUR_US),
        Period(START_US + HOUR_US, START_US + 2 * HOUR_US),
    ]


def test_too_many_steps_are_refused(engine: Engine) -> None:
    with pytest.raises(QueryError, match="more than 1000 steps") as caught:
        ask(engine, period=Period(START_US, START_US + 1001 * HOUR_US), step=Step.HOUR)
    assert caught.value.parameter == "step"


def test_a_zone_whose_hours_are_others_is_refused_and_one_that_shares_them_is_not(engine: Engine) -> None:
    book(engine, minutes(60))
    kolkata, berlin = ZoneInfo("Asia/Kolkata"), ZoneInfo("Europe/Berlin")
    half = Period(START_US - HOUR_US // 2, START_US + HOUR_US // 2)
    with pytest.raises(QueryError, match="booked in the hours of UTC") as caught:
        allocate(engine, UTC, Query(half, kolkata))
    assert caught.value.parameter == "tz"
    with pytest.raises(QueryError, match="booked in the hours of UTC"):
        allocate(engine, UTC, Query(DAY, kolkata, step=Step.DAY))
    assert allocate(engine, UTC, Query(DAY, berlin, step=Step.DAY)).amounts.capacity_us == HOUR_US


# What may be seen


def test_a_reader_sees_the_time_of_its_namespaces_and_of_nobody_else(engine: Engine) -> None:
    vision = device(reserved(pod("vision", "serve"), 1, MINUTE_US - 1), uuid="GPU-1")
    free = device(unallocated(MINUTE_US), uuid="GPU-2")
    book(engine, [window(device(reserved(pod(), MINUTE_US, 0)), vision, free)])
    apply(engine)
    own = ask(engine, By.NAMESPACE, By.DEVICE, scope=Scope(frozenset({"search"})))
    assert {row.keys[0] for row in own.rows} == {"search"}
    nothing = ask(engine, By.NAMESPACE, scope=Scope(frozenset()))
    assert (nothing.rows, nothing.amounts.capacity_us) == ((), 0)
    elsewhere = ask(engine, By.NAMESPACE, scope=Scope(frozenset({"search"}), frozenset({"west"})))
    assert elsewhere.rows == ()


def test_the_platforms_cost_is_not_for_those_who_see_a_part(engine: Engine) -> None:
    with pytest.raises(QueryError) as caught:
        ask(engine, spread=Spread.EVEN, scope=Scope(frozenset({"search"})))
    assert caught.value.parameter == "shareIdle"


# What an answer rests on


def test_the_hash_is_of_the_postings_in_scope_and_of_nothing_else(engine: Engine) -> None:
    book(engine, hours(0, 1))
    first, second = (Period(START_US + at * HOUR_US, START_US + (at + 1) * HOUR_US) for at in (0, 1))
    before = ask(engine, period=first).ground.ledger_hash
    assert ask(engine, By.POD, period=first).ground.ledger_hash == before
    assert ask(engine, period=second).ground.ledger_hash != before
    assert ask(engine, period=first, where=parse_filter('namespace:"x"')).ground.ledger_hash != before
    other = device(reserved(pod("vision"), MINUTE_US, 0), uuid="GPU-9")
    book(engine, [window(other, node="node-z", start_us=START_US)])
    assert ask(engine, period=first).ground.ledger_hash != before
    assert ask(engine, period=first, where=parse_filter('node:"node-a"')).ground.ledger_hash == before


@every_history
@given(windows=histories(most=6))
def test_the_hash_does_not_depend_on_the_order_in_which_windows_came(engine: Engine, windows: list[Window]) -> None:
    hashes = set()
    for arrived in (windows, list(reversed(windows))):
        empty(engine)
        book(engine, arrived)
        hashes.add(ask(engine).ground.ledger_hash)
    assert len(hashes) == 1


# I5 and I6


@every_history
@given(
    windows=histories(),
    one=groupings,
    other=groupings,
    by=untold,
    cut=st.integers(1, 3),
    how=st.sampled_from([Spread.PROPORTIONAL, Spread.EVEN]),
)
def test_whatever_is_in_a_ledger_answers_from_it_keep_the_rules(
    engine: Engine,
    windows: list[Window],
    one: tuple[By, ...],
    other: tuple[By, ...],
    by: tuple[By, ...],
    cut: int,
    how: Spread,
) -> None:
    """To fill a ledger takes longer than to ask it, so each is checked against all of them."""
    empty(engine)
    book(engine, windows)
    apply(engine)
    every_grouping_has_the_same_total_of_time_and_money(ask(engine, *one), ask(engine, *other))
    disjoint_periods_add_up_in_time_and_money(engine, by, START_US + cut * HOUR_US)
    spreading_is_conserved_and_moves_no_posting(engine, by, how)
    a_filter_does_not_change_what_a_namespace_is_given(engine, how)


def every_grouping_has_the_same_total_of_time_and_money(a: Allocation, b: Allocation) -> None:
    """I6"""
    assert (a.amounts, a.ground) == (b.amounts, b.ground)
    assert (a.money.by_state, a.money.unpriced_us) == (b.money.by_state, b.money.unpriced_us)
    assert sum(row.amounts.capacity_us for row in a.rows) == a.amounts.capacity_us


def disjoint_periods_add_up_in_time_and_money(engine: Engine, by: tuple[By, ...], middle_us: int) -> None:
    """I5, row by row, across a change of price and team at 01:00."""
    parts = [ask(engine, *by, period=Period(*edges)) for edges in ((START_US, middle_us), (middle_us, END_US))]
    found = ask(engine, *by, period=Period(START_US, END_US))
    assert by_key([row for part in parts for row in part.rows]) == by_key(found.rows)


@every_history
@given(windows=histories(), by=untold, name=st.sampled_from(list(MOMENTS)), step=st.sampled_from(list(Step)))
def test_steps_of_any_zone_add_up_to_the_period(
    engine: Engine, windows: list[Window], by: tuple[By, ...], name: str, step: Step
) -> None:
    """I5 where hours begin at half past, in a month in which the clock is set, and where it is set by half an hour."""
    zone = ZoneInfo(name)
    moved = [_moved(content, MOMENTS[name] - START_US) for content in windows]
    empty(engine)
    book(engine, moved, zone)
    first = hour_start(min(content.start_us for content in moved), zone)
    period = Period(first, hour_end(hour_start(first + 30 * HOUR_US, zone), zone))
    stepped = ask(engine, *by, period=period, zone=zone, step=step)
    assert by_key(stepped.rows) == by_key(ask(engine, *by, period=period, zone=zone).rows)


def spreading_is_conserved_and_moves_no_posting(engine: Engine, by: tuple[By, ...], how: Spread) -> None:
    plain, found = ask(engine, *by, step=Step.HOUR), ask(engine, *by, step=Step.HOUR, spread=how)
    assert sum(row.shared_us for row in found.rows) == 0
    assert found.money.shared == 0
    assert [row.amounts for row in plain.rows] == [row.amounts for row in found.rows]
    assert [row.money.by_state for row in plain.rows] == [row.money.by_state for row in found.rows]
    assert plain.ground == found.ground


def a_filter_does_not_change_what_a_namespace_is_given(engine: Engine, how: Spread) -> None:
    every = {row.keys: (row.shared_us, row.money.shared) for row in ask(engine, By.NAMESPACE, spread=how).rows}
    only = ask(engine, By.NAMESPACE, spread=how, where=parse_filter('namespace:"search"+pod<~:""'))
    assert all(every[row.keys] == (row.shared_us, row.money.shared) for row in only.rows)


def _moved(content: Window, by_us: int) -> Window:
    """The window at another time."""
    start_us, end_us = (us + by_us for us in (content.start_us, content.end_us))
    return Window(content.cluster, content.node, start_us, end_us, content.devices)
