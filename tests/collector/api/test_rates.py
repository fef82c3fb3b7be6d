"""GET /api/v1/rates and /api/v1/namespaces: what held on a day, by what was known on a day."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, insert
from tests.collector.api.fixtures import CARD, NOW_US, TOKENS, Tokens, application, fill, get
from tests.windows import START_US

from gputally.collector.auth.reader import Reader, Role
from gputally.collector.database.engine import writing
from gputally.collector.database.schema_billing import namespace_history
from gputally.collector.files.applied import Kind, apply_file

DAY_US = 86_400_000_000


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


def prices(found: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(row["namespace"], row["value"]) for row in found["rows"] if row["quantity"] == "per_gpu_hour"]


def test_rates_are_those_that_hold_on_a_day(engine: Engine, app: FastAPI) -> None:
    later = b"  - match: {model: NVIDIA H100 80GB HBM3}\n    valid_from: 2026-08-01\n    per_gpu_hour: 9\nenergy:"
    apply_file(engine, Kind.RATES, CARD.replace(b"energy:", later), "ann@laptop", NOW_US + 1)
    assert prices(asked(app, "rates", at="2026-07-31")) == [("vision", "1.8"), (None, "3.6")]
    assert prices(asked(app, "rates", at="2026-08-01")) == [("vision", "1.8"), (None, "9")]
    assert prices(asked(app, "rates", at="2025-12-31")) == []


def test_rates_can_be_asked_by_the_card_of_a_day_past(engine: Engine, app: FastAPI) -> None:
    apply_file(engine, Kind.RATES, CARD.replace(b"3.60", b"5.00"), "ann@laptop", NOW_US + DAY_US)
    assert asked(app, "rates")["version"] == 2
    before = asked(app, "rates", asOf="2026-07-01")
    assert (before["version"], prices(before)) == (1, [("vision", "1.8"), (None, "3.6")])
    assert asked(app, "rates", asOf="2026-06-30")["version"] is None


def test_what_was_negotiated_with_others_is_not_shown(engine: Engine) -> None:
    fill(engine)
    with application(engine, TOKENS) as app:
        assert prices(asked(app, "rates", "search")) == [(None, "3.6")]
        assert prices(asked(app, "rates", "all")) == [("vision", "1.8"), (None, "3.6")]


def test_a_part_of_the_card_is_shown_without_the_hash_of_the_whole(engine: Engine) -> None:
    """A price of others could be found by trying; and what other clusters cost is not this one's to know."""
    fill(engine)
    west = b"  - match: {cluster: west}\n    valid_from: 2026-01-01\n    per_gpu_hour: 9\nenergy:"
    apply_file(engine, Kind.RATES, CARD.replace(b"energy:", west), "ann@laptop", NOW_US)
    readers = {**TOKENS.readers, "east": Reader("eve", Role.VIEWER, None, frozenset({"east"}))}
    with application(engine, Tokens(readers)) as app:
        found = {token: asked(app, "rates", token) for token in ("all", "search", "east")}
    assert prices(found["east"]) == [("vision", "1.8"), (None, "3.6")]
    assert len(prices(found["all"])) == 3
    assert len(found["all"]["content_hash"]) == 64
    assert (found["search"]["content_hash"], found["east"]["content_hash"]) == (None, None)


def test_a_namespace_has_the_labels_and_the_team_of_its_day(engine: Engine, app: FastAPI) -> None:
    for from_us, to_us, tier in ((START_US, START_US + DAY_US, "gold"), (START_US + DAY_US, None, "lead")):
        row = {
            "cluster": "east",
            "name": "search",
            "uid": "u1",
            "valid_from_us": from_us,
            "valid_to_us": to_us,
            "resource_version": 1,
            "recorded_us": from_us,
            "labels": f'{{"tier": "{tier}"}}',
            "annotations": "{}",
        }
        with writing(engine) as connection:
            connection.execute(insert(namespace_history).values(row))
    for day, tier in (("2026-07-01", "gold"), ("2026-07-02", "lead")):
        (row,) = asked(app, "namespaces", at=day)["rows"]
        assert (row["namespace"], row["team"], row["labels"]) == ("search", "engines", {"tier": tier})
    with application(engine, TOKENS) as restricted:
        assert asked(restricted, "namespaces", "none")["rows"] == []


@pytest.mark.parametrize("parameters", [{"at": "someday"}, {"asOf": "2026-07-01T00:00:00"}, {"tz": "Mars"}])
def test_what_is_no_day_is_named(app: FastAPI, parameters: dict[str, str]) -> None:
    for name in ("rates", "namespaces"):
        answer = get(app, f"/api/v1/{name}", **parameters)
        assert answer.status_code == 422
        assert [error["parameter"] for error in answer.json()["errors"]] == list(parameters)
