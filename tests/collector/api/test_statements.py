"""Statements over HTTP: what was frozen byte for byte, and each reader's part only."""

import hashlib
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, update
from tests.collector.api.fixtures import TOKENS, application, fill, get
from tests.statements import close

from gputally.collector.api import service
from gputally.collector.database.engine import writing
from gputally.collector.database.schema_statement import statement
from gputally.collector.statement import close as close_module
from gputally.collector.statement.register import status_of

PATH = "/api/v1/statements/2026-07"


@pytest.fixture
def app(engine: Engine) -> Iterator[FastAPI]:
    fill(engine)
    with application(engine, TOKENS, status_of=status_of) as app:
        yield app


def test_a_closed_month_is_what_was_frozen(engine: Engine, app: FastAPI) -> None:
    assert get(app, "/api/v1/statements", "all").json()["rows"] == []
    closed = close(engine)
    found = get(app, PATH, "all")
    assert hashlib.sha256(found.content).hexdigest() == closed.content_hash
    assert found.headers["Gputally-Content-Hash"] == closed.content_hash
    (row,) = get(app, "/api/v1/statements", "all").json()["rows"]
    assert (row["month"], row["content_hash"]) == ("2026-07", closed.content_hash)
    assert get(app, "/api/v1/allocation", "all", window="2026-07").json()["period"]["status"] == "closed"


def test_an_open_month_is_drawn_up_now(app: FastAPI) -> None:
    document = get(app, PATH, "all").json()
    assert (document["status"], document["amount"], document["currency"]) == ("open", "19.80", "EUR")
    assert get(app, PATH, "all", team="eyes").json()["amount"] == "1.80"
    assert get(app, PATH, "all", format="csv").headers["content-type"].startswith("text/csv")
    assert get(app, PATH, "all", format="html").text.startswith("<!doctype html>")


def test_a_reader_sees_the_lines_of_its_namespaces_only(engine: Engine, app: FastAPI) -> None:
    close(engine)
    document = get(app, PATH, "search").json()
    assert {item["namespace"] for item in document["items"]} == {"search"}
    assert {one["namespace"] for one in document["idle_workloads"]} == {"search"}
    assert "energy_mj" not in document
    assert get(app, PATH, "search", namespace="vision").json()["items"] == []
    assert get(app, PATH, "none").json()["items"] == []
    refused = get(app, PATH, "search", shareIdle="even")
    assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, "shareIdle")


def test_what_cannot_be_is_refused_and_named(app: FastAPI) -> None:
    for path, name in (("/api/v1/statements/2026-13", "month"), (f"{PATH}?teem=eyes", "teem")):
        refused = get(app, path.partition("?")[0], "all", **({"teem": "eyes"} if "?" in path else {}))
        assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, name)
    assert get(app, PATH).status_code == 401


def test_what_was_tampered_with_is_not_shown(engine: Engine, app: FastAPI) -> None:
    close(engine)
    with writing(engine) as connection:
        connection.execute(update(statement).values(document="{}"))
    assert get(app, PATH, "all").status_code == 503


def test_what_counts_everybody_is_not_told_to_who_sees_a_part(engine: Engine, app: FastAPI) -> None:
    """Hashes, counts of lines and of nodes' hours; capacity and coverage are of the reader's own time."""
    close(engine)
    whole, part = (get(app, PATH, token).json() for token in ("all", "search"))
    assert whole["closed"]["lines"]
    assert (part["closed"]["lines"], part["closed"]["lines_hash"]) == (None, None)
    assert [one["content_hash"] for one in part["rates"]] == [None] * len(whole["rates"])
    own = [item for item in part["items"] if item["meter"] == "gpu"]
    assert part["capacity_us"] == sum(item["us"] for item in own) < whole["capacity_us"]
    hashes = {whole["closed"]["lines_hash"], whole["rates"][0]["content_hash"][:12]}
    found = get(app, "/api/v1/statements", "all").json()["rows"][0]["content_hash"]
    for form in ("json", "csv", "html"):
        answer = get(app, PATH, "search", format=form)
        assert not [one for one in (*hashes, found) if one in answer.text + str(answer.headers)]


def test_pending_counts_hours_and_not_the_nodes_for_who_sees_a_part(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes have two hours each to be recomputed, which nobody does."""
    monkeypatch.setattr(service, "catch_up", lambda *_: None)
    fill(engine)
    with application(engine, TOKENS, status_of=status_of) as app:
        assert get(app, PATH, "all").json()["pending_hours"] == 4
        assert get(app, PATH, "search").json()["pending_hours"] == 2
        assert "2 hours of nodes are not settled" in get(app, PATH, "search", format="html").text


def test_what_a_month_was_closed_in_spite_of_is_not_counted_for_who_sees_a_part(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(close_module, "catch_up", lambda *_: None)
    monkeypatch.setattr(service, "catch_up", lambda *_: None)
    fill(engine)
    close(engine)
    with application(engine, TOKENS, status_of=status_of) as app:
        assert get(app, PATH, "all").json()["pending_hours"] == 4
        assert get(app, PATH, "search").json()["pending_hours"] is None
