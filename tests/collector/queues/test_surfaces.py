"""Queues in the terminal, in the API and on their page: the same figures, and what is not known is never 0."""

import json
import re
from collections.abc import Iterator
from html import unescape
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from tests.collector.api.fixtures import get
from tests.collector.web.fixtures import READERS, pages, text
from tests.queues import claim, cluster_queue, know, local_queue
from tests.watched_pods import learn
from tests.windows import START_US, all_received, device, pod, reserved, window
from typer.testing import CliRunner

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.cli.main import app as command
from gputally.collector.database.engine import open_database
from gputally.collector.ingest.commit import Committer

UTC = ZoneInfo("UTC")
MINUTE_US = 60_000_000
JULY = {"window": "2026-07-01T00:00:00Z,2026-07-01T02:00:00Z"}
EDGES = ("--from", "2026-07-01T00:00:00Z", "--to", "2026-07-01T02:00:00Z")
EQUAL = ("quota_us", "borrowed_us", "whole_us", "unused_us")


def fill(engine: Engine) -> None:
    """Two GPUs for an hour in a queue that has one, and one in no queue."""
    busy = {"in-0": 30, "in-1": 60, "out": 60}  # minutes
    windows = []
    for minute in range(60):
        parts = []
        for name, used in busy.items():
            times = (MINUTE_US, 0) if minute < used else (0, MINUTE_US)
            parts.append(device(reserved(pod(name=name), *times), uuid=name))
        windows.append(window(*parts, start_us=START_US + minute * MINUTE_US))
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=START_US + 2 * HOUR_US)
    for name in ("in-0", "in-1"):
        learn(engine, name, f"job/{name}")
        claim(engine, name, "lq", "label kueue.x-k8s.io/queue-name")
    know(engine, cluster_queue("gold", "1", cohort="all", borrowingLimit="4"), local_queue(into="gold"))


@pytest.fixture(scope="module")
def filled(migrated_file: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("queues") / "gputally.sqlite"
    path.write_bytes(migrated_file.read_bytes())  # type: ignore[attr-defined]
    engine = open_database(f"sqlite:///{path}")
    fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def site(filled: Engine) -> Iterator[FastAPI]:
    with pages(filled) as running:
        yield running


def run(engine: Engine, *words: str) -> str:
    done = CliRunner().invoke(command, ["queues", "--database-url", str(engine.url), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_table_has_a_row_for_each_queue_and_one_for_none(filled: Engine) -> None:
    assert run(filled, *EDGES).splitlines() == [
        "cluster  of     queue   cohort  quota  reserved  used  idle  borrowed  unused",
        "east     kueue  gold    all     2.0    2.0       1.5   0.5   1.0       1.0",
        "east            (none)          –      1.0       1.0   0.0   –         –",
    ]
    assert "There is no queue" in run(filled, "--month", "2026-05")


def test_the_terminals_json_and_the_api_say_the_same(filled: Engine, site: FastAPI) -> None:
    rows = json.loads(run(filled, *EDGES, "--format", "json"))["rows"]
    answer = get(site, "/api/v1/queues", **JULY).json()
    assert answer["rows"] == rows
    assert answer["total_rows"] == 2
    gold = rows[0]
    assert [gold[name] // HOUR_US for name in EQUAL] == [2, 1, 2, 1]
    assert gold["quotas"] == [
        {
            "resource": "nvidia.com/gpu",
            "flavor": "h100",
            "nominal": 1,
            "guaranteed": None,
            "most": 5,
            "reserved": None,
            "borrowed": None,
        }
    ]
    assert rows[1]["quota_us"] is None


def test_mistakes_are_told_together(filled: Engine, site: FastAPI) -> None:
    done = CliRunner().invoke(command, ["queues", "--format", "xml", "--month", "June"])
    assert done.exit_code == 2
    assert "--format" in done.output
    assert "--month" in done.output
    found = get(site, "/api/v1/queues", window="often", tz="Nowhere")
    assert found.status_code == 422
    assert {name for name in ("window", "tz") if name in found.text} == {"window", "tz"}
    assert get(site, "/api/v1/queues", window=JULY["window"], tz="Asia/Kolkata").status_code == 422
    assert get(site, "/api/v1/queues", window=JULY["window"], tz="Europe/Berlin").json()["total_rows"] == 2


def test_the_page_shows_them_and_says_what_is_unknown(site: FastAPI) -> None:
    found = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text(site, "/queues", month="2026-07"))))
    assert "gold kueue, in east, cohort all 1 × nvidia.com/gpu h100, at most 5" in found
    assert "No queue in east" in found
    assert "none 1.0 1.0 0.0 none none" in found, "no queue has no quota, which is not unknown"
    assert "no queue's quota is known" in unescape(text(site, "/queues", month="2026-05"))


def test_a_reader_of_some_namespaces_sees_no_quota(filled: Engine) -> None:
    with pages(filled, READERS) as guarded:
        found = text(guarded, "/queues", "research", month="2026-07")
    assert "gold" not in found
    assert "unknown" not in found
    assert "shown to those who may see every namespace" in found
