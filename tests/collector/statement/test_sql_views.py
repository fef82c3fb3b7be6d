"""The views of closed months: what a statement prints, to the last digit, for who may read nothing else."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, column, select, table, text
from tests.databases import PostgresServer
from tests.statements import AUGUST, JULY, LATER_US, UTC, apply, book, close
from tests.windows import MINUTE_US, START_US, device, pod, reserved, unallocated, window

from gputally.accounting.line import Window
from gputally.collector.database.engine import open_database
from gputally.collector.rates.cost import SCALE
from gputally.collector.statement.month import Month
from gputally.collector.statement.read import read_statement
from gputally.collector.statement.view import View

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "dashboards.md").read_text()
VIEWS = ("statement_month", "statement_item", "statement_workload")
H100, A100, UNPRICED = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB", "NVIDIA L40S"
Rows = list[dict[str, Any]]


def ledger() -> list[Window]:
    """Two namespaces, one of which does nothing, a model without a price, and a GPU that nobody holds."""
    search, vision = pod(), pod("vision", "train-9")
    third = MINUTE_US // 3
    return [
        window(
            device(reserved(search, third, MINUTE_US - third, energy_mj=90_001), uuid="GPU-0", model=H100),
            device(reserved(vision, 0, MINUTE_US), uuid="GPU-1", model=H100),
            device(reserved(pod("lab", "try"), 7, MINUTE_US - 7), uuid="GPU-2", model=UNPRICED),
            device(unallocated(MINUTE_US), uuid="GPU-3", model=H100),
            start_us=at_us,
        )
        for at_us in (START_US, AUGUST.start_us)
    ]


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[Engine]:
    """July is closed, then a node of July is late, then August is closed with its correction."""
    url = postgres_server.create(migrated=True)
    engine = open_database(url)
    apply(engine)
    book(engine, ledger())
    close(engine)
    book(engine, [window(device(reserved(pod(), MINUTE_US, 0), uuid="GPU-9"), node="late", start_us=START_US)])
    close(engine, AUGUST, now_us=LATER_US)
    yield engine
    engine.dispose()
    postgres_server.drop(url)


def rows(engine: Engine, query: str, **values: str) -> Rows:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query), values).mappings()]


def document(engine: Engine, month: Month) -> dict[str, Any]:
    """The statement as it was frozen."""
    found = read_statement(engine, UTC, month)
    return dict(json.loads(found.json(View(found.statement))))


def known(value: object) -> object:
    """As a view has it: what a document leaves empty is unknown."""
    return None if value == "" else value


@pytest.mark.parametrize("month", [JULY, AUGUST], ids=lambda month: month.name)
def test_the_items_are_those_of_the_document(database: Engine, month: Month) -> None:
    """Also the corrections of an earlier month, energy without a state, and time without a price."""
    decimals = {"gpu_hours", "kwh", "price", "amount", "exact"}
    found = rows(database, "SELECT * FROM statement_item WHERE month = :month", month=month.name)
    for row, item in zip(found, document(database, month)["items"], strict=True):
        named = {name: known(value) for name, value in item.items() if name != "rate_version"}
        exact = {name: value and Decimal(value) for name, value in named.items() if name in decimals}
        assert row == {**dict.fromkeys(row), **named, **exact, "month": month.name, "currency": "EUR"}


@pytest.mark.parametrize("month", [JULY, AUGUST], ids=lambda month: month.name)
def test_items_add_up_to_their_month(database: Engine, month: Month) -> None:
    [whole] = rows(database, "SELECT * FROM statement_month WHERE month = :month", month=month.name)
    sum_up = (
        "SELECT sum(amount) AS amount, sum(us) FILTER (WHERE corrects IS NULL) AS capacity_us"
        " FROM statement_item WHERE month = :month"
    )
    [sums] = rows(database, sum_up, month=month.name)
    said = document(database, month)
    assert sums == {"amount": Decimal(said["amount"]), "capacity_us": said["capacity_us"]}
    assert {name: whole[name] for name in sums} == sums
    assert (whole["unpriced_us"], float(whole["coverage"])) == (said["unpriced_us"], said["coverage"])


def test_the_scenario_has_what_is_rare(database: Engine) -> None:
    """Else the tests above say little."""
    [counts] = rows(
        database,
        "SELECT count(*) FILTER (WHERE price IS NULL) AS unpriced, count(*) FILTER (WHERE meter = 'energy') AS energy,"
        " count(*) FILTER (WHERE corrects = '2026-07' AND month = '2026-08') AS corrections FROM statement_item",
    )
    assert all(counts.values()), counts


def test_idle_pods_have_their_cost_and_those_without_a_price_none(database: Engine) -> None:
    """Unpriced is not 0."""
    found = rows(database, "SELECT * FROM statement_workload WHERE month = '2026-07'")
    said = document(database, JULY)["idle_workloads"]
    costs = {one["pod"]: Fraction(int(one["cost"]), SCALE) for one in said}
    assert [row["pod"] for row in found] == [one["pod"] for one in said]
    assert {row["pod"] for row in found if row["amount"] is None} == {"try"}
    for row in found:
        if row["amount"] is not None:
            assert abs(Fraction(row["amount"]) - costs[row["pod"]]) * 10**9 <= Fraction(1, 2)


@pytest.mark.parametrize("view", VIEWS)
def test_one_month_is_found_by_the_key(database: Engine, view: str) -> None:
    """However many months there are, the document of one is read."""
    with database.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        query = select(text("*")).select_from(table(view)).where(column("month") == "2026-07")
        plan = connection.execute(text(f"EXPLAIN {query.compile(compile_kwargs={'literal_binds': True})}"))
        assert "pk_statement" in "".join(plan.scalars())


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_and_its_columns_say_what_they_are(database: Engine, view: str) -> None:
    """The dictionary is in the database, as it is of the tables; the page has the names."""
    of_columns = (
        "SELECT attname AS name, col_description(attrelid, attnum) AS text FROM pg_attribute"
        " WHERE attrelid = CAST(:view AS regclass) AND attnum > 0"
    )
    columns = rows(database, of_columns, view=view)
    assert [one["name"] for one in columns if not one["text"]] == []
    [row] = re.findall(rf"^\| `{view}` \|.*$", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row)[1:] == [one["name"] for one in columns]
    assert rows(database, "SELECT obj_description(CAST(:view AS regclass)) AS text", view=view)[0]["text"]
