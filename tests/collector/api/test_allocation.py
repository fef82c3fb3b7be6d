"""GET /api/v1/allocation says where GPU time went, to those who may know, and says what is wrong with a question."""

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from tests.collector.api.fixtures import CARD, DAY, NOW_US, TOKENS, application, book, fill, get
from tests.windows import MINUTE_US, device, pod, reserved, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.api import models, service
from gputally.collector.api.desk import Desk
from gputally.collector.database.schema import metadata, posting
from gputally.collector.files.applied import Kind, apply_file

PATH = "/api/v1/allocation"


@pytest.fixture
def app(engine: Engine) -> Iterator[FastAPI]:
    fill(engine)
    with application(engine) as app:
        yield app


def asked(app: FastAPI, **parameters: str) -> dict[str, Any]:
    answer = get(app, PATH, **{"window": DAY, **parameters})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def mistakes(app: FastAPI, **parameters: str) -> dict[str, str]:
    answer = get(app, PATH, **parameters)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    return {error["parameter"]: error["message"] for error in answer.json()["errors"]}


def test_every_answer_says_what_it_rests_on(app: FastAPI) -> None:
    found = asked(app)
    assert (found["capacity_us"], found["coverage"], found["unpriced_us"]) == (6 * HOUR_US, 1.0, 0)
    assert (found["currency"], found["period"]) == ("EUR", {"status": "open", "pending_hours": 0})
    assert len(found["ledger_hash"]) == 64


def test_rows_are_named_priced_and_add_up_to_the_total(app: FastAPI) -> None:
    found = asked(app, aggregate="namespace,team")
    assert {(row["keys"]["team"], row["owner"]): row["cost"] for row in found["rows"]} == {
        ("engines", "pod"): "7.200000",
        ("eyes", "pod"): "1.800000",
        ("", "platform"): "10.800000",
    }
    assert (found["total"]["carbon_g"], found["total"]["no_factor_mj"]) == (None, found["total"]["energy_mj"])
    for name in ("cost", "used_cost", "idle_cost", "energy_cost"):
        assert sum(Decimal(row[name] or 0) for row in found["rows"]) == Decimal(found["total"][name])


def test_carbon_is_in_grams_and_energy_without_a_factor_is_told(engine: Engine) -> None:
    """The card has a factor for one namespace only."""
    factor = b"carbon:\n  - {match: {namespace: search}, valid_from: 2026-01-01, g_co2e_per_kwh: 400}\n"
    kwh = 3_600_000_000
    parts = [device(reserved(pod(name), MINUTE_US, 0, energy_mj=kwh), uuid=name) for name in ("search", "vision")]
    book(engine, [window(*parts)])
    apply_file(engine, Kind.RATES, CARD + factor, "ann@laptop", NOW_US)
    with application(engine) as app:
        found = asked(app)
    carbon = {row["keys"]["namespace"]: (row["carbon_g"], row["no_factor_mj"]) for row in found["rows"]}
    assert carbon == {"search": ("600.000000", 0), "vision": (None, kwh)}  # of 1.5 kWh, by the PUE
    assert (found["total"]["carbon_g"], found["total"]["no_factor_mj"]) == ("600.000000", kwh)


def test_steps_filters_states_and_pages_are_as_asked(app: FastAPI) -> None:
    found = asked(app, step="hour", filter='namespace:"search"', states="used", aggregate="pod")
    assert [(row["step"]["start"], row["used_us"], row["idle_us"]) for row in found["rows"]] == [
        ("2026-07-01T00:00:00+00:00", 2_700_000_000, 0),
        ("2026-07-01T01:00:00+00:00", 2_700_000_000, 0),
    ]
    assert found["aggregate"] == ["namespace", "pod"]
    page = asked(app, step="hour", limit="1", offset="2")
    assert (len(page["rows"]), page["total_rows"]) == (1, 6)
    assert page["total"] == asked(app, step="hour")["total"]


def test_time_of_some_states_does_not_pass_for_all_of_it(app: FastAPI) -> None:
    """Coverage and capacity are the period's; what cannot be told state by state is unknown, and not 0 or 1."""
    found = asked(app, states="used,unobserved")
    assert (found["capacity_us"], found["total"]["capacity_us"]) == (6 * HOUR_US, 2 * 2_700_000_000)
    for figures in (found["total"], *found["rows"], *asked(app, aggregate="state")["rows"]):
        for name in ("coverage", "efficiency", "reserved_us", "burst_us", "intruder_us", "gap_us"):
            assert figures[name] is None


def test_a_state_without_a_price_is_null_beside_one_that_has_one(engine: Engine) -> None:
    """Also in a row that has both."""
    other = device(reserved(pod("search"), 0, MINUTE_US), uuid="GPU-9", model="NVIDIA L4")
    book(engine, [window(device(reserved(pod("search"), MINUTE_US, 0)), other)])
    apply_file(engine, Kind.RATES, CARD, "ann@laptop", NOW_US)
    with application(engine) as app:
        row = asked(app, filter='namespace:"search"')["rows"][0]
        assert (row["used_cost"], row["idle_cost"], row["unpriced_us"]) == ("0.060000", None, MINUTE_US)
        idle = get(app, "/api/v1/idle", window=DAY).json()
        assert (idle["idle_cost"], idle["rows"][0]["idle_cost"]) == (None, None)


def test_accumulate_sums_the_steps_up_again(app: FastAPI) -> None:
    assert asked(app, step="hour", accumulate="true") == asked(app)


def test_the_platform_can_be_shown_over_the_namespaces(app: FastAPI) -> None:
    found = asked(app, shareIdle="even")
    shared = {row["keys"]["namespace"]: row["shared_cost"] for row in found["rows"]}
    assert shared == {"": "-10.800000", "search": "5.400000", "vision": "5.400000"}
    assert found["total"]["shared_cost"] == "0.000000"


def test_csv_has_the_rows_and_says_the_rest_in_headers(app: FastAPI) -> None:
    answer = get(app, PATH, window=DAY, format="csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["gputally-ledger-hash"] == asked(app)["ledger_hash"]
    assert [(row["owner"], row["namespace"], row["cost"], row["memory_byte_s"]) for row in rows] == [
        ("platform", "", "10.800000", ""),
        ("pod", "search", "7.200000", ""),
        ("pod", "vision", "1.800000", ""),
    ]


def test_another_time_zone_cuts_other_days(app: FastAPI) -> None:
    found = asked(app, window="2026-07-01T00:00:00Z,2026-07-01T12:00:00Z", tz="Europe/Berlin", step="day")
    assert found["window"]["start"] == "2026-07-01T02:00:00+02:00"


def test_what_is_wrong_is_named_with_what_was_probably_meant(app: FastAPI) -> None:
    assert mistakes(app, windw="month") == {"windw": "there is no such parameter: did you mean window?"}
    assert mistakes(app, zzz="1")["zzz"].startswith("there is no such parameter: there are ")
    assert mistakes(app, tz="Europe/Berln") == {"tz": "Europe/Berln: no such time zone: did you mean Europe/Berlin?"}
    assert mistakes(app, shareIdle="evn") == {
        "shareIdle": "'evn': expected one of none, proportional, even, quota, claimed-quota: did you mean even?"
    }
    found = mistakes(app, aggregate="namespac", states="idel", filter='nod:"a"', window="lastmont", asOf="soon")
    assert {name: message.rpartition(": ")[2] for name, message in found.items() if name != "asOf"} == {
        "aggregate": "did you mean namespace?",
        "states": "did you mean idle?",
        "filter": "did you mean node?",
        "window": "did you mean lastmonth?",
    }
    assert "expected a day" in found["asOf"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("window", {"window": "2026-07-02T00:00:00Z,2026-07-01T00:00:00Z"}),
        ("window", {"window": "2026-07-01T00:20:00Z,2026-07-01T01:00:00Z"}),
        ("window", {"window": "900d"}),
        ("tz", {"window": "today", "tz": "Asia/Kolkata"}),
        ("tz", {"window": "2026-04", "tz": "Australia/Lord_Howe"}),  # begins with an hour of UTC, and ends with none
        ("step", {"window": "700d", "step": "hour"}),
        ("limit", {"limit": "0"}),
        ("offset", {"offset": "-1"}),
        ("format", {"format": "xml"}),
        ("accumulate", {"accumulate": "perhaps"}),
        ("filter", {"filter": "x" * 5000}),
    ],
)
def test_a_question_without_an_answer_names_the_parameter(app: FastAPI, name: str, parameters: dict[str, str]) -> None:
    assert list(mistakes(app, **parameters)) == [name]


def test_a_team_sees_its_own_namespaces_only(engine: Engine) -> None:
    fill(engine)
    with application(engine, TOKENS) as app:
        own = get(app, PATH, "search", window=DAY, aggregate="namespace,node,device").json()
        assert {row["keys"]["namespace"] for row in own["rows"]} == {"search"}
        assert own["capacity_us"] == 2 * HOUR_US
        assert get(app, PATH, "none", window=DAY).json()["rows"] == []
        refused = get(app, PATH, "search", window=DAY, shareIdle="even")
        assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, "shareIdle")


def test_what_waits_says_nothing_about_the_nodes_of_others(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many nodes a fleet has is not a team's to know."""
    monkeypatch.setattr(service, "catch_up", lambda *_: None)
    fill(engine)
    with application(engine, TOKENS) as app:
        waiting = {
            token: get(app, PATH, token, window=DAY).json()["period"]["pending_hours"] for token in ("all", "search")
        }
    assert waiting == {"all": 4, "search": 2}


def test_nobody_is_let_in_without_a_token(engine: Engine) -> None:
    with application(engine, TOKENS) as app:
        answer = get(app, PATH)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json()["title"] == "Nobody is logged in"


def test_a_path_that_does_not_exist_is_a_problem_document_too(app: FastAPI) -> None:
    answer = get(app, "/api/v1/allocations")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_database_that_is_away_is_told_without_its_own_words(engine: Engine) -> None:
    with application(engine) as app:
        metadata.drop_all(engine, tables=[posting])
        answer = get(app, PATH)
    assert (answer.status_code, answer.json()["detail"]) == (503, "the database cannot be read now")
    assert answer.headers["retry-after"] == "5"


def test_too_many_questions_are_refused(engine: Engine) -> None:
    with application(engine, desk=Desk(1, -1)) as app:
        answer = get(app, PATH)
    assert (answer.status_code, answer.json()["title"]) == (503, "Not able to answer now")


@pytest.mark.parametrize(
    "asked", [{}, {"aggregate": "namespace,team", "step": "hour"}, {"states": "idle"}, {"aggregate": "state"}]
)
def test_rows_are_written_as_their_model_says(app: FastAPI, asked: dict[str, str]) -> None:
    """They are written column by column, past the models."""
    text = get(app, PATH, window=DAY, **asked).text
    assert json.loads(models.AllocationAnswer.model_validate_json(text, strict=True).model_dump_json()) == json.loads(
        text
    )
