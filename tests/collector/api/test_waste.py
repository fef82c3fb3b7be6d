"""/api/v1/waste: kinds that sum to idle, in time and money, the dearest first, for who may see them."""

import csv
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from tests.collector.api.fixtures import DAY, TOKENS, application, fill, get

from gputally.collector.jobs import read_pods
from gputally.collector.waste.lenses import Lens


@pytest.fixture
def app(engine: Engine) -> Iterator[FastAPI]:
    fill(engine)
    with application(engine, TOKENS) as found:
        yield found


def test_the_kinds_sum_to_idle_and_the_dearest_comes_first(app: FastAPI) -> None:
    found = get(app, "/api/v1/waste", "all", window=DAY).json()
    idle = get(app, "/api/v1/idle", "all", window=DAY).json()
    assert sum(one["us"] for one in found["kinds"]) == sum(row["us"] for row in found["rows"]) == idle["idle_us"]
    assert [one["kind"] for one in found["kinds"]] == [
        *("over-asked", "waiting-to-start", "after-the-end", "forgotten", "between-kernels")
    ]
    costs = [row["cost"] for row in found["rows"]]
    assert costs == sorted(costs, key=float, reverse=True)
    assert (found["aggregate"], found["all_ranks"], found["currency"]) == (["namespace", "workload"], True, "EUR")


def test_csv_has_a_line_for_each_owner_and_kind(app: FastAPI) -> None:
    text = get(app, "/api/v1/waste", "all", window=DAY, aggregate="team", format="csv").text
    assert [(row["team"], row["kind"], row["cost"]) for row in csv.DictReader(text.splitlines())] == [
        ("eyes", "waiting-to-start", "1.800000"),
        ("engines", "between-kernels", "1.800000"),
    ]


def test_lenses_with_too_many_pods_are_unknown_and_all_else_is_told(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = get(app, "/api/v1/waste", "all", window=DAY).json()
    monkeypatch.setattr(read_pods, "MAX_PODS", 1)
    found = get(app, "/api/v1/waste", "all", window=DAY).json()
    assert (found["kinds"], found["rows"]) == (whole["kinds"], whole["rows"])
    assert (found["lenses"], found["all_ranks"], list(found["unknown_lenses"])) == ([], False, list(Lens))
    assert "too many pods" in found["unknown_lenses"]["failed-attempts"]
    assert whole["unknown_lenses"] == {}


def test_who_sees_one_namespace_sees_its_waste(app: FastAPI) -> None:
    found = get(app, "/api/v1/waste", "search", window=DAY).json()
    assert {row["keys"]["namespace"] for row in found["rows"]} == {"search"}
    assert get(app, "/api/v1/waste", "none", window=DAY).json()["total_rows"] == 0


@pytest.mark.parametrize("given", [{"aggregate": "state"}, {"aggregate": "nonsense"}, {"filter": 'source:"none"'}])
def test_what_makes_no_sense_of_idle_time_is_refused(app: FastAPI, given: dict[str, str]) -> None:
    answer = get(app, "/api/v1/waste", "all", window=DAY, **given)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
