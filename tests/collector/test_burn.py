"""A budget says what is spent of it, and where the month will end if its days go on as they did."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from tests.windows import MINUTE_US, START_US, all_received, device, pod, reserved, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import WHOLE, Scope
from gputally.collector.budgets import Budget, Unit
from gputally.collector.budgets import Scope as BudgetScope
from gputally.collector.burn import Burn, Forecast, Standing, burns, forecast
from gputally.collector.database.engine import reading
from gputally.collector.exposition.budgets import burn_metrics
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.rates.cost import SCALE

UTC = ZoneInfo("UTC")
DAY_US = 24 * HOUR_US
JULY = Period(START_US, START_US + 31 * DAY_US)
BUDGETS = b"""\
version: 1
budgets:
  - {namespace: search, from: 2026-07, gpu_hours: 1}
  - {team: engines, from: 2026-07, gpu_hours: 1}
  - {namespace: search, cluster: west, from: 2026-07, gpu_hours: 1}
  - {namespace: search, from: 2026-07, amount: 3}
"""
TEAMS = b"version: 1\nnamespaces:\n  - {namespace: search, team: engines, valid_from: 2026-01-01}\n"


def minutes_of_days(*minutes: int) -> list[Burn | object]:
    """Windows: on each day so many minutes that search holds a GPU of its own, one GPU a minute."""
    return [
        window(
            *(device(reserved(pod(), MINUTE_US, 0), uuid=f"GPU-{day}-{at}") for at in range(count)),
            start_us=START_US + day * DAY_US,
            node=f"node-{day}",
        )
        for day, count in enumerate(minutes)
    ]


def only_used(engine: Engine, now_us: int, scope: Scope = WHOLE) -> list[Burn]:
    settle(engine, UTC)
    with reading(engine) as connection:
        return burns(connection, UTC, JULY, now_us, scope)


@pytest.fixture
def booked(engine: Engine) -> Engine:
    Committer(engine, UTC, max_age_us=None).commit(
        all_received(minutes_of_days(1)),  # type: ignore[arg-type]
        now_us=START_US + HOUR_US,
    )
    apply_file(engine, Kind.BUDGETS, BUDGETS, "ann@laptop", START_US)
    apply_file(engine, Kind.TEAMS, TEAMS, "ann@laptop", START_US)
    return engine


def test_time_and_cost_count_against_the_budgets_of_namespace_and_team(booked: Engine) -> None:
    search, team, west, money = only_used(booked, START_US + HOUR_US)
    assert (search.spent, team.spent, west.spent) == (SCALE // 60, SCALE // 60, 0)
    assert (search.limit, search.ratio(search.spent)) == (SCALE, 1 / 60)
    assert (money.spent, money.forecast, money.unpriced_us) == (None, None, MINUTE_US)  # there is no rate card
    assert (money.standing, money.ratio(money.spent)) == (Standing.UNKNOWN, None)


CARD = b"""\
version: 1
currency: EUR
prices:
  - {match: {model: %s}, valid_from: 2026-01-01, per_gpu_hour: 60}
"""


@pytest.mark.parametrize(("model", "spent"), [(b"NVIDIA H100 80GB HBM3", SCALE), (b"NVIDIA L4", None)])
def test_what_is_spent_is_unknown_where_nothing_has_a_price(booked: Engine, model: bytes, spent: int | None) -> None:
    apply_file(booked, Kind.RATES, CARD % model, "ann@laptop", START_US)
    after = only_used(booked, JULY.end_us)[3]
    assert (after.spent, after.forecast) == (spent, None if spent is None else Forecast(spent, spent, spent))


def test_nothing_is_spent_where_no_time_counts(booked: Engine) -> None:
    """That is known, whatever has no price."""
    apply_file(booked, Kind.BUDGETS, BUDGETS.replace(b"amount: 3", b"cluster: west, amount: 3"), "ann@laptop", START_US)
    (money,) = (burn for burn in only_used(booked, START_US + HOUR_US) if burn.budget.unit is Unit.MONEY)
    assert (money.spent, money.standing) == (0, Standing.WITHIN)


def test_before_the_first_day_is_over_there_is_no_forecast(booked: Engine) -> None:
    assert only_used(booked, START_US + DAY_US - 1)[0].forecast is None
    assert only_used(booked, START_US + DAY_US)[0].days == 1


def test_after_the_month_the_forecast_is_what_was_spent(booked: Engine) -> None:
    after = only_used(booked, JULY.end_us + 1)[0]
    assert after.forecast == Forecast(after.spent, after.spent, after.spent)


def test_a_budget_is_shown_only_to_who_sees_all_that_it_counts(booked: Engine) -> None:
    now_us = START_US + HOUR_US
    assert [burn.budget.name for burn in only_used(booked, now_us, Scope(frozenset({"search"})))] == ["search"] * 3
    west = Scope(frozenset({"search"}), frozenset({"west"}))
    assert [burn.budget.cluster for burn in only_used(booked, now_us, west)] == ["west"]
    assert only_used(booked, now_us, Scope(frozenset())) == []


def test_the_rest_of_the_month_is_like_the_days_so_far() -> None:
    assert forecast(60, [10, 30, 20], 2 * DAY_US) == Forecast(100, 80, 120)
    assert forecast(60, [10, 30, 20], DAY_US // 2) == Forecast(70, 65, 75)


@given(st.lists(st.integers(0, 10**20), min_size=1), st.integers(0, 31 * DAY_US))
def test_the_expected_lies_within_its_range_and_never_below_what_is_spent(days: list[int], rest_us: int) -> None:
    found = forecast(sum(days), days, rest_us)
    assert found is not None
    assert sum(days) <= found.low <= found.expected <= found.high


def burn(spent: int | None, expected: int | None) -> Burn:
    budget = Budget(BudgetScope.TEAM, "engines", None, Unit.MONEY, 100, (2026, 7), None, 1)
    known = None if expected is None else Forecast(expected, expected, expected)
    return Burn(budget, 100, spent, known, 1, 0)


@pytest.mark.parametrize(
    ("spent", "expected", "standing"),
    [
        (None, None, Standing.UNKNOWN),
        (1, None, Standing.WITHIN),
        (1, 100, Standing.WITHIN),
        (1, 101, Standing.AT_RISK),
        (101, 101, Standing.EXCEEDED),
    ],
)
def test_a_budget_is_at_risk_before_it_is_exceeded(spent: int | None, expected: int | None, standing: Standing) -> None:
    assert burn(spent, expected).standing is standing


def test_metrics_are_ratios_and_what_is_not_known_is_absent() -> None:
    class Budgets(Collector):
        def collect(self):  # type: ignore[no-untyped-def]
            return burn_metrics([burn(25, None)])

    registry = CollectorRegistry()
    registry.register(Budgets())
    text = generate_latest(registry).decode()
    labels = 'cluster="",name="engines",scope="team",unit="amount"'
    assert f"gputally_budget_spent_ratio{{{labels}}} 0.25\n" in text
    assert "gputally_budget_forecast_ratio{" not in text


def test_a_budget_of_money_without_prices_has_no_metric() -> None:
    assert [sample for family in burn_metrics([burn(None, None)]) for sample in family.samples] == []
