"""A budget is told once at risk, once exceeded, and when it fell back; a forecast that swings is no news."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.budgets import Budget, Scope, Unit
from gputally.collector.burn import Burn, Forecast, Standing
from gputally.collector.notify.budget_news import SETTLED_US, BudgetKey, ToldBudget, budget_news
from gputally.collector.notify.message import Level
from gputally.collector.rates.cost import SCALE

BUDGET = Budget(Scope.TEAM, "language", None, Unit.MONEY, 100 * 10**9, (2026, 7), None, 3)
HOUR_US = 3_600_000_000


def burn(standing: Standing) -> Burn:
    """The budget as it stands so."""
    spent = {Standing.UNKNOWN: None, Standing.EXCEEDED: 101 * SCALE}.get(standing, 50 * SCALE)
    expected = (120 if standing is Standing.AT_RISK else 90) * SCALE
    found = Burn(BUDGET, 100 * SCALE, spent, Forecast(expected, expected, expected), 3, 0)
    assert found.standing is standing
    return found


class Play:
    """Looks an hour apart."""

    def __init__(self) -> None:
        self.told: dict[BudgetKey, ToldBudget] = {}
        self.now_us = 0

    def sees(self, *standings: Standing, month: str = "2026-11") -> list[Level]:
        """What is told of a budget that stands so at these looks."""
        levels = []
        for standing in standings:
            now = budget_news(self.told, [burn(standing)], month, self.now_us)
            self.told = dict(now.told)
            levels += [news.level for news in now.news]
            self.now_us += HOUR_US
        return levels


def test_each_level_is_told_once() -> None:
    at_risk, exceeded = [Standing.AT_RISK] * 3, [Standing.EXCEEDED] * 3
    assert Play().sees(Standing.WITHIN, *at_risk, *exceeded) == [Level.WARNING, Level.CRITICAL]


def test_a_forecast_that_swings_is_told_once() -> None:
    """It crosses its budget many times a day."""
    assert Play().sees(*[Standing.AT_RISK, Standing.WITHIN] * 40) == [Level.WARNING]


def test_a_budget_that_was_not_at_risk_for_a_day_has_fallen_back() -> None:
    play = Play()
    hours = SETTLED_US // HOUR_US
    assert play.sees(Standing.AT_RISK, *[Standing.WITHIN] * hours) == [Level.WARNING]
    assert play.sees(Standing.WITHIN, Standing.WITHIN) == [Level.RESOLVED]
    assert play.sees(Standing.AT_RISK) == [Level.WARNING]


def test_a_budget_that_was_raised_has_fallen_back_at_once() -> None:
    assert Play().sees(Standing.EXCEEDED, Standing.AT_RISK) == [Level.CRITICAL, Level.WARNING]
    assert Play().sees(Standing.EXCEEDED, Standing.WITHIN, Standing.WITHIN) == [Level.CRITICAL, Level.RESOLVED]


def test_what_is_not_known_changes_nothing() -> None:
    """A rate card that lost its prices makes no budget good again."""
    play = Play()
    assert play.sees(Standing.UNKNOWN, Standing.EXCEEDED, Standing.UNKNOWN, Standing.EXCEEDED) == [Level.CRITICAL]


def test_a_new_month_begins_anew_and_says_nothing_of_the_old() -> None:
    play = Play()
    play.sees(Standing.EXCEEDED)
    assert play.sees(Standing.WITHIN, month="2026-12") == []
    assert play.told == {}
    assert play.sees(Standing.EXCEEDED, month="2026-12") == [Level.CRITICAL]


@given(st.lists(st.sampled_from(Standing), max_size=40))
def test_no_level_is_told_twice_in_a_row(standings: list[Standing]) -> None:
    levels = Play().sees(*standings)
    assert all(before is not after for before, after in pairwise(levels))
    assert not levels or levels[0] is not Level.RESOLVED
