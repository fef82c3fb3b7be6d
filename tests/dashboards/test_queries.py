"""Every query of every panel and variable runs against real sources and finds something: a real Prometheus that reads
real agents and a real collector, and a real PostgreSQL with closed months, read by the role that the docs describe."""

import math
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.dashboards.boards import BOARDS, ROOT, Json, Query, names, panels, queries, variables
from tests.dashboards.world import World, world
from tests.databases import PostgresServer
from tests.nvml import library
from tests.programs import wait_until

from gputally.accounting.states import State

GRAFANA = {"__rate_interval": "1m", "__range": "5m"}  # what Grafana fills in by itself
ROLE = re.search(r"```sql\n(CREATE ROLE.*?)```", (ROOT / "docs" / "dashboards.md").read_text(), re.DOTALL)
HIDDEN = ("posting", "line", "owner", "statement", "statement_line", "applied_file", "namespace_history")
DEADLINE_S = 60
Choice = dict[str, str]
Rows = list[dict[str, Any]]

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(library.skip_reason()), reason=library.skip_reason()),
    pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is missing: apt-get install prometheus"),
]


def test_every_query_finds_something(postgres_server: PostgresServer, tmp_path: Path) -> None:
    with world(tmp_path, postgres_server) as running, reader(running) as ledger:
        choices = {board: list(choices_of(board, running, ledger)) for board in BOARDS}
        found = {query: rows_of(query, choices[query.board], ledger) for query in queries() if query.is_sql}
        check_ledger(found, choices["chargeback"], running, ledger)
        asked = [query for query in queries() if not query.is_sql]
        assert asked
        assert found
        check_metrics(asked, choices, running)
        check_states(asked, choices["fleet"][0], running)
        for board, panel in every_table():
            check_columns(board, panel, choices[board], running)
        check_hidden(ledger)


# The variables, each asked of its source with those before it chosen.


def choices_of(board: str, running: World, ledger: "psycopg.Connection[Any]") -> Iterator[Choice]:
    """What can be chosen, as Grafana would write it into queries: every value of what takes one."""
    chosen: list[Choice] = [{}]
    for variable in variables(board):
        if variable["type"] == "query":
            chosen = [
                {**before, variable["name"]: value}
                for before in chosen
                for value in values_of(variable, before, running, ledger)
            ]
            assert chosen, f"{board}: {variable['name']} has no values"
    yield from chosen


def values_of(variable: Json, before: Choice, running: World, ledger: "psycopg.Connection[Any]") -> Sequence[str]:
    query = variable["query"]
    if isinstance(query, str):
        options = [str(next(iter(row.values()))) for row in ledger.execute(filled(query, before)).fetchall()]
        everything = ", ".join("'" + option.replace("'", "''") + "'" for option in options)
    else:
        options = wait_until(lambda: labels(filled(query["query"], before), running), DEADLINE_S, str(query))
        everything = variable.get("allValue", "")
    return [everything] if variable["multi"] and options else options


def labels(query: str, running: World) -> list[str]:
    """label_values(SERIES, LABEL)"""
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
    assert found, query
    return list(running.ask(f"label/{found[2]}/values", **{"match[]": found[1]}))


def filled(text: str, choice: Choice) -> str:
    """A query with its variables filled in."""
    known = {**choice, **GRAFANA}
    return re.sub(r"\$(\w+)", lambda name: known[name[1]], text)


# Prometheus.


def check_metrics(asked: Sequence[Query], choices: dict[str, list[Choice]], running: World) -> None:
    """Waits until each query has found something with one of the choices; fails with those that never did."""
    waiting, end = list(asked), time.monotonic() + DEADLINE_S
    while waiting and time.monotonic() < end:
        waiting = [query for query in waiting if not any(finds(query, one, running) for one in choices[query.board])]
    assert [f"{query}: {query.text}" for query in waiting] == []


def check_states(asked: Sequence[Query], choice: Choice, running: World) -> None:
    """The five curves of the fleet are all of its capacity, and nothing of it twice."""
    texts = [query.text for query in asked if (query.board, query.panel) == ("fleet", "Capacity by state")]
    all_states = re.sub(r', state="\w+"', "", texts[0])

    def values(text: str, at_s: float) -> list[float]:
        found = running.ask("query", query=filled(text, choice), time=str(at_s))["result"]
        return [float(one["value"][1]) for one in found]

    def settled_s() -> float:
        """An instant before which nothing is read any more: a scrape is of the time at which it began."""
        at_s = time.time() - 3
        return at_s if values(all_states, at_s) else 0

    at_s = wait_until(settled_s, DEADLINE_S, "some seconds of the fleet")
    [whole] = values(all_states, at_s)
    assert len(texts) == len(State)
    assert sum(value for text in texts for value in values(text, at_s)) == pytest.approx(whole)
    assert whole > 0


def finds(query: Query, choice: Choice, running: World) -> bool:
    """Whether there is a number; not a number is none."""
    return any(map(math.isfinite, numbers(query, choice, running)))


def numbers(query: Query, choice: Choice, running: World) -> list[float]:
    text, now = filled(query.text, choice), time.time()
    if query.instant:
        return [float(one["value"][1]) for one in running.ask("query", query=text)["result"]]
    span = {"start": str(now - 2), "end": str(now), "step": "1"}
    return [float(one["values"][-1][1]) for one in running.ask("query_range", query=text, **span)["result"]]


def every_table() -> Iterator[tuple[str, Json]]:
    """The tables of metrics."""
    for board in BOARDS:
        yield from (
            (board, panel) for panel in panels(board) if panel["type"] == "table" and "transformations" in panel
        )


def check_columns(board: str, panel: Json, choices: Sequence[Choice], running: World) -> None:
    """Each label is a column with a name for people or is left out, and its queries have those in common that join
    their rows: one row for each, and none twice."""
    [options] = [each["options"] for each in panel["transformations"] if each["id"] == "organize"]
    known = options["renameByName"].keys() | options["excludeByName"].keys()
    for choice in choices:
        found = [
            [one["metric"] for one in running.ask("query", query=filled(target["expr"], choice))["result"]]
            for target in panel["targets"]
        ]
        there = [[set(one) for one in rows] for rows in found if rows]
        assert {label for rows in there for labels in rows for label in labels} <= known, panel["title"]
        common = set.intersection(*(set.union(*rows) for rows in there)) if there else set()
        for rows in found:
            keys = [tuple(row.get(label) for label in sorted(common)) for row in rows]
            assert len(keys) == len(set(keys)), f"{panel['title']}: {common} do not tell rows apart"


# PostgreSQL.


def reader(running: World) -> "psycopg.Connection[Any]":
    """A connection of the role that docs/dashboards.md makes, by its own statements. It is called like the database
    here: a server has a role once, and other tests make one too."""
    assert ROLE, "docs/dashboards.md has no SQL that makes the role"
    name = running.database_url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(running.database_url, autocommit=True) as owner:
        owner.execute(re.sub(r"\bgrafana\b", name, ROLE[1]).encode())
    address = running.database_url.replace("postgres@", f"{name}@")
    return psycopg.connect(address, autocommit=True, row_factory=dict_row)


def rows_of(query: Query, choices: Sequence[Choice], ledger: "psycopg.Connection[Any]") -> Rows:
    """What a query finds, over all months; every column has a value somewhere."""
    found: Rows = [row for one in choices for row in ledger.execute(filled(query.text, one)).fetchall()]
    assert found, f"{query}: no rows"
    empty = [name for name in found[0] if all(row[name] is None for row in found)]
    assert empty == [], f"{query}: nothing in the columns {empty}"
    return found


def check_ledger(
    found: dict[Query, Rows], choices: Sequence[Choice], running: World, ledger: "psycopg.Connection[Any]"
) -> None:
    """What the panels show of a month adds up to what its statement prints; there are the months that were closed."""
    assert {choice["month"] for choice in choices} == {month.name for month in running.closed}
    [teams] = [query for query in found if query.panel == "By team"]
    [amount] = [query for query in found if query.panel == "Amount"]
    for choice in choices:
        [whole] = ledger.execute(filled(amount.text, choice)).fetchall()
        parts = ledger.execute(filled(teams.text, choice)).fetchall()
        assert sum((row["Amount"] or Decimal(0) for row in parts), Decimal(0)) == whole["value"] > 0
        assert [row["Amount"] for row in parts] == sorted((row["Amount"] for row in parts), reverse=True)


def check_hidden(ledger: "psycopg.Connection[Any]") -> None:
    """The role sees what was billed, and neither the ledger nor rate cards; and it cannot write."""
    for name in HIDDEN:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ledger.execute(psycopg.sql.SQL("SELECT 1 FROM {}").format(psycopg.sql.Identifier(name)))
    with pytest.raises(psycopg.Error):
        ledger.execute("CREATE TABLE mine (id int)")


def test_queries_use_no_variable_that_is_not_there() -> None:
    for query in queries():
        assert names(query.text) - {"__rate_interval"} <= {one["name"] for one in variables(query.board)}, query
