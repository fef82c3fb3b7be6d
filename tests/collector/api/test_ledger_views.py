"""Idle, coverage, devices, budgets: each is the same ledger, looked at for one question."""

import csv
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from tests.collector.api.fixtures import DAY, NOW_US, TOKENS, application, book, fill, get
from tests.windows import MINUTE_US, START_US, device, pod, reserved, unallocated, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.api.table import _ratio
from gputally.collector.files.applied import Kind, apply_file


@pytest.fixture
def app(engine: Engine) -> Iterator[FastAPI]:
    fill(engine)
    with application(engine) as app:
        yield app


def asked(app: FastAPI, name: str, token: str = "", **parameters: str) -> dict[str, Any]:
    answer = get(app, f"/api/v1/{name}", token, **parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_idle_names_the_owners_and_the_cost_of_what_they_hold_and_do_not_use(app: FastAPI) -> None:
    by_hours = asked(app, "idle", window=DAY, sort="hours", aggregate="namespace,team")
    assert [(row["keys"]["team"], row["idle_us"], row["idle_cost"]) for row in by_hours["rows"]] == [
        ("eyes", HOUR_US, "1.800000"),
        ("engines", HOUR_US // 2, "1.800000"),
    ]
    assert (by_hours["idle_us"], by_hours["idle_cost"]) == (HOUR_US * 3 // 2, "3.600000")
    assert [row["idle_ratio"] for row in by_hours["rows"]] == [1.0, 0.25]


def test_idle_puts_the_dearest_first(engine: Engine) -> None:
    fill(engine)
    late = window(device(reserved(pod("search", "big"), 0, MINUTE_US), uuid="GPU-9"), node="node-c")
    book(engine, [late])
    with application(engine) as app:
        rows = asked(app, "idle", window=DAY, aggregate="namespace")["rows"]
    assert [row["keys"]["namespace"] for row in rows] == ["search", "vision"]


def test_coverage_says_why_time_was_not_seen_the_worst_first(engine: Engine) -> None:
    minutes = [window(device(unallocated(MINUTE_US)), start_us=START_US + at * MINUTE_US) for at in (0, 2)]
    book(engine, [*minutes, window(device(unallocated(MINUTE_US), uuid="GPU-1"), node="node-b")])
    with application(engine) as app:
        rows = asked(app, "coverage", window="2026-07-01T00:00:00Z,2026-07-01T01:00:00Z")["rows"]
    first = rows[0]
    assert first["keys"]["node"] in ("node-a", "node-b")
    assert sum(first["reasons_us"].values()) == first["unobserved_us"]
    assert [row["coverage"] for row in rows] == sorted(row["coverage"] for row in rows)


def test_devices_are_known_by_uuid_with_their_time(app: FastAPI) -> None:
    found = asked(app, "devices", window=DAY)
    assert [(row["uuid"], row["node"], row["capacity_us"]) for row in found["rows"]] == [
        ("GPU-0", "node-a", 2 * HOUR_US),
        ("GPU-1", "node-a", 2 * HOUR_US),
        ("GPU-2", "node-b", 2 * HOUR_US),
    ]
    assert found["rows"][1]["idle_us"] == found["rows"][1]["unallocated_us"] == HOUR_US


def test_a_team_sees_the_devices_it_had_and_not_how_the_fleet_is_labelled(engine: Engine) -> None:
    fill(engine)
    with application(engine, TOKENS) as app:
        rows = asked(app, "devices", "search", window=DAY)["rows"]
    assert [(row["uuid"], row["node_labels"]) for row in rows] == [("GPU-0", None)]


@pytest.mark.parametrize("name", ["idle", "coverage", "devices"])
def test_each_comes_as_csv_too(app: FastAPI, name: str) -> None:
    answer = get(app, f"/api/v1/{name}", window=DAY, format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert len(answer.text.splitlines()) > 1
    assert "gputally-ledger-hash" in answer.headers


def test_ratios_in_csv_have_the_digits_of_money_and_are_rounded_down(app: FastAPI) -> None:
    """No 1e-05 and no 0.30000000000000004 for a spreadsheet to stumble over."""
    text = get(app, "/api/v1/idle", window=DAY, aggregate="namespace", format="csv").text
    assert [row["idle_ratio"] for row in csv.DictReader(text.splitlines())] == ["1.000000", "0.250000"]
    found = [_ratio(value) for value in (0.1 + 0.2, 1e-05, 0.29, 0.9999999, 1.0, 0.0)]
    assert found == ["0.300000", "0.000010", "0.290000", "0.999999", "1.000000", "0.000000"]


def test_budgets_say_what_is_spent_and_how_they_stand(app: FastAPI) -> None:
    rows = asked(app, "budgets", month="2026-07")["rows"]
    assert [(row["name"], row["unit"], row["spent"], row["standing"]) for row in rows] == [
        ("search", "gpu_hours", "2.000000", "within"),
        ("search", "amount", "7.200135", "exceeded"),
        ("eyes", "amount", "1.800000", "within"),
    ]
    assert rows[0]["expected"] is None  # the first day is not over


def test_money_spent_is_null_where_nothing_that_counts_has_a_price(engine: Engine, app: FastAPI) -> None:
    card = b"version: 1\ncurrency: EUR\nprices:\n  - {match: {model: L4}, valid_from: 2026-01-01, per_gpu_hour: 1}\n"
    apply_file(engine, Kind.RATES, card, "ann@laptop", NOW_US)
    rows = asked(app, "budgets", month="2026-07")["rows"]
    assert [(row["spent"], row["standing"]) for row in rows] == [
        ("2.000000", "within"),
        (None, "unknown"),
        (None, "unknown"),
    ]
    assert all(row["unpriced_us"] for row in rows[1:])


def test_a_budget_is_for_those_who_see_all_that_it_counts(engine: Engine) -> None:
    fill(engine)
    with application(engine, TOKENS) as app:
        assert [row["name"] for row in asked(app, "budgets", "search")["rows"]] == ["search", "search"]
        assert asked(app, "budgets", "none")["rows"] == []


def test_a_month_that_is_none_is_named(app: FastAPI) -> None:
    answer = get(app, "/api/v1/budgets", month="2026-13")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "month")
