"""Advice as it is read: on both databases, for who may see it, in the terminal, in the API and on the page."""

import json
import re
from collections.abc import Iterator
from functools import partial
from html import unescape
from pathlib import Path

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select, update
from tests import advised
from tests.advised import BUSY, DAY_US, IDLE, LIGHT, NOW_US, UTC, Hour, Ledger
from tests.collector.api.fixtures import TOKENS, get
from tests.collector.web.fixtures import pages, text
from tests.databases import empty
from tests.watched_pods import learn
from typer.testing import CliRunner

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.advice import asked
from gputally.collector.advice.advice import Advice, Fit, IdleNotebook, Kind, OffHours, Unused
from gputally.collector.advice.read import AdviceQuery, read_advice
from gputally.collector.allocation.filter import parse_filter
from gputally.collector.allocation.query import QueryError, Scope
from gputally.collector.cli import advise
from gputally.collector.cli.main import app as command
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.database.schema import device, posting
from gputally.collector.database.schema_waste import UNBOUNDED, memory_peak
from gputally.collector.files.applied import Kind as Applied
from gputally.collector.files.applied import apply_file
from gputally.collector.ledger.postings import settle

LATER_US = NOW_US + 60_000_000
SEARCH = Scope(namespaces=frozenset({"search"}))


def advice(engine: Engine, query: AdviceQuery | None = None) -> tuple[Advice, ...]:
    settle(engine, UTC)
    with reading(engine) as connection:
        return read_advice(connection, UTC, query or AdviceQuery(LATER_US)).rows


def test_each_kind_is_found_with_its_numbers_the_dearest_first(engine: Engine) -> None:
    """What trains says nothing; what has no price stands apart, after all that has one."""
    advised.fill(engine)
    rows = advice(engine)
    assert [(one.kind, one.subject.workload, one.spent.us) for one in rows] == [
        (Kind.UNUSED, "pod/wide", 7 * 3 * DAY_US),
        (Kind.OFF_HOURS, "inferenceservice.kserve/chat", 108 * HOUR_US),
        (Kind.MIG, "notebook.kubeflow/anns", (5 * DAY_US + 60_000_000) * 6 // 7),
        (Kind.NOTEBOOK, "notebook.kubeflow/anns", 4 * DAY_US + 60_000_000),
        (Kind.MIG, "deployment/tiny", 6 * DAY_US * 6 // 7),
    ]
    unused, off, mig, notebook, tiny = rows
    assert unused.spent.cost == unused.spent.us * 3_600_000_000
    assert (tiny.spent.cost, tiny.spent.unpriced_us) == (None, tiny.spent.us)
    assert [one.subject.team for one in rows] == ["engines", "", "engines", "engines", ""]
    assert isinstance(unused.details, Unused)
    assert (unused.details.used, unused.details.never, unused.details.parts) == (1, 7, 8)
    assert isinstance(off.details, OffHours)
    assert off.details.hours == 108
    assert isinstance(mig.details, Fit)
    assert (mig.details.profile, mig.details.peak_bytes, mig.details.busiest_permille) == ("1g.10gb", advised.GIB, 50)
    assert isinstance(notebook.details, IdleNotebook)
    assert notebook.details.since_us == NOW_US - 4 * DAY_US


@pytest.fixture(scope="module")
def filled(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("advice") / "gputally.sqlite"
    path.write_bytes(migrated_file.read_bytes())
    engine = open_database(f"sqlite:///{path}")
    advised.fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def site(filled: Engine) -> Iterator[FastAPI]:
    with pages(filled, now_us=lambda: LATER_US) as running:
        yield running


def test_a_reader_is_told_of_its_namespaces_and_no_other(filled: Engine) -> None:
    whole = advice(filled)
    assert advice(filled, AdviceQuery(LATER_US, SEARCH)) == tuple(
        one for one in whole if one.subject.namespace == "search"
    )
    assert advice(filled, AdviceQuery(LATER_US, SEARCH, namespace="vision")) == ()
    assert advice(filled, AdviceQuery(LATER_US, Scope(clusters=frozenset({"west"})))) == ()


def test_it_is_narrowed_by_kind_namespace_and_filter(filled: Engine) -> None:
    found = advice(filled, AdviceQuery(LATER_US, namespace="vision", kinds=(Kind.MIG,)))
    assert [one.subject.workload for one in found] == ["deployment/tiny"]
    engines = advice(filled, AdviceQuery(LATER_US, where=parse_filter('team:"engines"+workload<~:"pod"')))
    assert [one.subject.workload for one in engines] == ["pod/wide"]
    with pytest.raises(QueryError, match="can be told apart by"):
        advice(filled, AdviceQuery(LATER_US, where=parse_filter('device:"GPU-0"')))


HEADS = "namespace  who                           GPU-hours      EUR  in the last seven days"
FIRST = "search     pod/wide                          504.0  1814.40  used 1 of its 8 GPUs, and 7 never, held since"
LAST = "vision     deployment/tiny                   123.4        –  at most 1.1 GB of memory held, busy 5.0 % of"


def run(engine: Engine, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setattr(advise, "now_us", lambda: LATER_US)
    done = CliRunner().invoke(command, ["advise", "--database-url", str(engine.url), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_table_has_a_sentence_for_each(filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    heads, first, *_, last, empty_line, note = run(filled, monkeypatch).splitlines()
    assert (heads, first[: len(FIRST)], last[: len(LAST)]) == (HEADS, FIRST, LAST)
    assert (empty_line, "do not add them up" in note) == ("", True)
    assert run(filled, monkeypatch, "--namespace", "nobody") == "There is nothing to advise.\n"


def test_the_terminals_json_and_the_api_say_the_same(
    filled: Engine, site: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(run(filled, monkeypatch, "--format", "json"))
    answer = get(site, "/api/v1/advice").json()
    assert answer["rows"] == document["rows"]
    assert (answer["total_rows"], answer["currency"], answer["window"]["start"]) == (5, "EUR", document["from"])
    assert answer["rows"][0]["details"] == {
        "used": 1,
        "never": 7,
        "parts": 8,
        "whole": True,
        "since": "2026-07-17T10:00:00+00:00",
        "until": "2026-07-20T10:00:00+00:00",
    }
    page = get(site, "/api/v1/advice", kind="fits-mig", limit="1", offset="1").json()
    assert [(row["workload"], row["cost"]) for row in page["rows"]] == [("deployment/tiny", None)]


def test_mistakes_are_told_together(site: FastAPI, filled: Engine) -> None:
    found = get(site, "/api/v1/advice", kind="everything", filter="pod")
    assert found.status_code == 422
    assert {name for name in ("kind", "filter") if name in found.text} == {"kind", "filter"}
    done = CliRunner().invoke(command, ["advise", "--kind", "everything", "--filter", "pod"])
    assert done.exit_code == 2
    assert "--kind everything" in done.output
    assert "--filter at" in done.output


def test_the_page_links_to_whom_it_is_about(site: FastAPI, filled: Engine) -> None:
    html = text(site, "/advice")
    found = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))
    assert "all replicas idle Mon to Thu 20:00–08:00, Fri 20:00–Mon 08:00 (UTC), 108 hours a week" in found
    assert 'href="/namespaces/vision"' in html
    assert "unpriced" in found
    with pages(filled, TOKENS, now_us=lambda: LATER_US) as guarded:
        mine = text(guarded, "/advice", "search")
        assert "vision" not in mine
        assert "There is nothing to advise about what you may see" in text(guarded, "/advice", "none")


def test_what_is_not_known_is_no_advice(engine: Engine) -> None:
    """Memory that nobody could read, GPUs that were not observed, pods without a UID's workload."""
    veiled, unseen = LIGHT._replace(memory=None), Hour(HOUR_US // 20, HOUR_US // 2, HOUR_US * 9 // 20)
    with writing(engine) as connection:
        ledger = Ledger(connection)
        ledger.book("veiled", 6, lambda us: veiled if us == NOW_US - DAY_US else LIGHT)
        ledger.book("unseen", 6, lambda _: unseen)
        for gpu in range(2):
            ledger.book(
                "half", 6, lambda _, gpu=gpu: BUSY if gpu == 0 else Hour(0, HOUR_US // 2, HOUR_US // 2), gpu=gpu
            )
    assert advice(engine) == ()


def test_memory_that_was_known_in_part_fits_nothing(engine: Engine) -> None:
    """Hours of which some minutes could not be read have memory, and yet may have had more than it says."""
    with writing(engine) as connection:
        Ledger(connection).book("tiny", 6, lambda _: LIGHT)
    assert [one.kind for one in advice(engine)] == [Kind.MIG]
    with writing(engine) as connection:
        yesterday = memory_peak.c.day_us == NOW_US - NOW_US % DAY_US - DAY_US
        assert connection.execute(update(memory_peak).where(yesterday).values(bytes=UNBOUNDED)).rowcount == 1
    assert advice(engine) == ()


def test_a_profile_is_priced_by_the_gpus_that_it_would_do_for(engine: Engine) -> None:
    """A pod's process on another model, which another pod of its workload held, is no time of that advice."""
    with writing(engine) as connection:
        ledger = Ledger(connection)
        ledger.book("tiny-1", 6, lambda _: LIGHT)
        ledger.book("tiny-2", 6, lambda _: LIGHT, model="NVIDIA A100-SXM4-80GB")
        ledger.book("tiny-1", 6, lambda _: LIGHT, gpu=1, model="NVIDIA A100-SXM4-80GB")
        other = posting.c.device_id.in_(select(device.c.id).where(device.c.uuid == "GPU-tiny-1-1"))
        connection.execute(update(posting).where(other).values(basis="process"))
    for name in ("tiny-1", "tiny-2"):
        learn(engine, name, "Deployment/tiny")
    found = advice(engine, AdviceQuery(LATER_US, kinds=(Kind.MIG,)))
    assert [one.spent.us for one in found] == [6 * DAY_US * 6 // 7] * 2


def test_more_pods_than_can_be_looked_at_are_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(engine) as connection:
        ledger = Ledger(connection)
        for at in range(3):
            ledger.book(f"tiny-{at}", 6, lambda _: LIGHT)
    query = AdviceQuery(LATER_US, kinds=(Kind.MIG,))
    assert len(advice(engine, query)) == 3
    monkeypatch.setattr(asked, "MOST_ROWS", 2)
    with pytest.raises(QueryError, match="too many pods"):
        advice(engine, query)


def test_hours_of_a_week_have_the_prices_that_held_in_them(engine: Engine) -> None:
    with writing(engine) as connection:
        Ledger(connection).book("tiny", 6, lambda _: LIGHT)
    rule = "  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2026-07-18, per_gpu_hour: 1.80}\n"
    apply_file(engine, Applied.RATES, advised.CARD + rule.encode(), "ann@laptop", NOW_US)
    (found,) = advice(engine, AdviceQuery(LATER_US, kinds=(Kind.MIG,)))
    whole = HOUR_US * (86 * 3_600_000_000 + 58 * 1_800_000_000)  # from the 14th, 10:00 to the 20th, 10:00
    assert (found.spent.us, found.spent.cost) == (144 * HOUR_US * 6 // 7, whole * 6 // 7)


def test_prices_of_energy_let_no_more_rows_into_memory(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may change every hour, and advice asks for the price of time alone."""
    with writing(engine) as connection:
        ledger = Ledger(connection)
        for at in range(3):
            ledger.book(f"tiny-{at}", 6, lambda _: LIGHT)
        connection.execute(delete(memory_peak))  # of which there are as many at most
    hourly = "".join(f"  - {{valid_from: 2026-07-13T1{hour}:00:00Z, per_kwh: 0.{hour + 1}}}\n" for hour in range(9))
    apply_file(engine, Applied.RATES, advised.CARD + f"energy:\n{hourly}".encode(), "ann@laptop", NOW_US)
    monkeypatch.setattr(asked, "MOST_ROWS", 2)
    with pytest.raises(QueryError, match="too many pods"):
        advice(engine, AdviceQuery(LATER_US, kinds=(Kind.MIG,)))


_HOURS = st.sampled_from([BUSY, LIGHT, IDLE, LIGHT._replace(memory=None), Hour(0, 0, HOUR_US), None])


@st.composite
def _fleets(draw: st.DrawFn) -> list[tuple[str, str, list[list[Hour | None]]]]:
    """Pods of two namespaces: a name, a workload, and of each GPU what every day was like, alike or three in turn."""
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=2, max_size=4, unique=True))
    kinds = st.sampled_from(["Notebook.kubeflow/n", "InferenceService.kserve/s", "Deployment/d"])
    alike = st.sampled_from([BUSY, LIGHT, LIGHT, IDLE, IDLE]).map(lambda hour: [hour] * 3)
    gpus = st.lists(st.one_of(alike, st.lists(_HOURS, min_size=3, max_size=3)), min_size=1, max_size=2)
    return [(name, draw(kinds), draw(gpus)) for name in names]


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(fleet=_fleets())
def test_advice_never_names_time_that_another_namespace_had(
    filled_anew: Engine, fleet: list[tuple[str, str, list[list[Hour | None]]]]
) -> None:
    """Each is of time that its own namespace held, and the same whoever else may be seen."""
    empty(filled_anew)
    with writing(filled_anew) as connection:
        ledger = Ledger(connection)
        for name, _, gpus in fleet:
            for gpu, days in enumerate(gpus):
                # At midnight all are there and idle, so that none is without any hour.
                ledger.book(name, 9, partial(_of_day, days), namespace=_namespace(name), gpu=gpu)
    for name, label, _ in fleet:
        learn(filled_anew, name, label, namespace=_namespace(name))
    rows = advice(filled_anew)
    for one in rows:
        assert 0 <= one.spent.us <= ledger.held[one.subject.namespace]
        assert {_namespace(pod) for pod in one.subject.pods} <= {one.subject.namespace}
    for namespace in ledger.held:
        alone = advice(filled_anew, AdviceQuery(LATER_US, Scope(namespaces=frozenset({namespace}))))
        assert alone == tuple(one for one in rows if one.subject.namespace == namespace)


@pytest.fixture(scope="module")
def filled_anew(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("random") / "gputally.sqlite"
    path.write_bytes(migrated_file.read_bytes())
    engine = open_database(f"sqlite:///{path}")
    yield engine
    engine.dispose()


def _of_day(days: list[Hour | None], us: int) -> Hour | None:
    return days[us // DAY_US % 3] if us % DAY_US else IDLE


def _namespace(name: str) -> str:
    return "search" if name in "ab" else "vision"
