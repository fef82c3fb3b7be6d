"""Budgets on pages: those in trouble first, said in words and not by colour alone, and only to who may see them."""

import re
from html import unescape

import pytest
from fastapi import FastAPI
from tests.collector.web.fixtures import text

from gputally.collector.budgets import Budget, Scope, Unit
from gputally.collector.burn import Burn, Forecast
from gputally.collector.rates.card import NANO
from gputally.collector.rates.cost import SCALE
from gputally.collector.web.budgets import MOST_ROWS, table


def burn(
    limit: int, spent: int | None, expected: int | None = None, *, unit: Unit = Unit.GPU_HOURS, name: str = "a"
) -> Burn:
    budget = Budget(Scope.TEAM, name, None, unit, limit * NANO, (2026, 1), None, 3)
    forecast = None if expected is None else Forecast(expected * SCALE, expected * SCALE, (expected + 5) * SCALE)
    return Burn(budget, limit * SCALE, None if spent is None else spent * SCALE, forecast, 17, 0 if spent else 9)


def rows_of(page: str) -> list[str]:
    """The budgets' rows in words."""
    section = page.partition('aria-label="Budgets"')[2].partition("</table>")[0]
    return [re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", row))) for row in section.split("<tr")[2:]]


def test_those_in_trouble_come_first() -> None:
    found = [burn(9, 5, 8, name="fine"), burn(9, 5, 12, name="soon"), burn(9, None, unit=Unit.MONEY), burn(9, 10, 12)]
    assert [row.said for row in table(found, "EUR", None).rows] == ["exceeded", "at risk", "within", "unknown"]


def test_a_bar_says_in_words_what_it_shows_and_ends_with_the_larger_of_budget_and_forecast() -> None:
    (row,) = table([burn(1000, 600, 1200)], "EUR", None).rows
    assert row.bar.label == "at risk: 600.0 of 1,000.0 GPU-hours spent, 1,200.0 expected at the month's end"
    assert [(part.state, part.x, part.width) for part in row.bar.segments] == [
        ("spent-at-risk", "0.000%", "50.000%"),
        ("expected", "50.000%", "50.000%"),
    ]
    assert (row.limit_x, row.part, row.between) == ("83.333%", "60.0\N{NO-BREAK SPACE}%", "1,200.0 to 1,205.0")


def test_what_has_no_price_is_unpriced_and_a_forecast_that_is_not_there_is_unknown() -> None:
    (row,) = table([burn(1000, None, unit=Unit.MONEY)], "EUR", None).rows
    assert (row.spent, row.part, row.expected, row.limit) == ("unpriced", "unknown", "unknown", "1,000.00")
    (row,) = table([burn(0, 0, 0)], "EUR", None).rows
    assert (row.part, row.limit_x) == ("unknown", "0.000%"), "of a budget of nothing there is no part"


def test_a_page_has_no_more_than_it_can_show() -> None:
    found = table([burn(1, 0, 0)] * (MOST_ROWS + 3), "EUR", None)
    assert (len(found.rows), found.left_out) == (MOST_ROWS, 3)


def test_the_overview_has_every_budget_a_team_its_own_and_a_namespace_those_that_count_it(app: FastAPI) -> None:
    overview = rows_of(text(app, "/"))
    assert len(overview) == 4
    assert "at risk" in overview[0] or "exceeded" in overview[0]
    assert len(rows_of(text(app, "/", team="language"))) == 1
    assert len(rows_of(text(app, "/namespaces/research"))) == 2
    assert rows_of(text(app, "/namespaces/sandbox")) == []


def test_a_budget_is_of_the_month_that_is_shown(app: FastAPI) -> None:
    assert rows_of(text(app, "/", month="2025-12")) == []


@pytest.mark.parametrize(("path", "expected"), [("/", 1), ("/namespaces/research", 1)])
def test_a_reader_of_a_namespace_sees_the_budgets_of_it_alone(guarded: FastAPI, path: str, expected: int) -> None:
    """A team's sum would tell what others use."""
    found = rows_of(text(guarded, path, "research"))
    assert len(found) == expected
    assert all("namespace, GPU-hours" in row for row in found)
