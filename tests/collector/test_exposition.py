"""What Prometheus scrapes: exact to the microsecond, absent where unknown, and as promtool wants it."""

import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sqlalchemy import Engine
from tests.fleets import GOLDEN, NOBODY, SEARCH, WORK, full, golden
from tests.windows import MINUTE_US, MODEL, START_US, all_received, device, pod, received, reserved, unallocated, window

from gputally.accounting.line import Window
from gputally.collector.database.engine import open_database
from gputally.collector.exposition import fleet
from gputally.collector.exposition.books import Books, Total, read_books
from gputally.collector.exposition.itself import Work
from gputally.collector.exposition.page import make_registry
from gputally.collector.ingest.admission import Refusal, RefusalReason
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.ledger.retention import Removed
from gputally.collector.month import Month
from gputally.collector.report import By, report

UTC = ZoneInfo("UTC")
LIMIT_US = 2**31 * 1_000_000


def registry(books: Books | None, work: Work = WORK) -> CollectorRegistry:
    return make_registry(lambda: books, lambda: work)


def value(found: CollectorRegistry, name: str, **labels: str) -> float | None:
    return found.get_sample_value(name, labels)


def book(engine: Engine, windows: Sequence[Window]) -> None:
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=START_US + 60 * MINUTE_US)


def test_a_namespaces_time_is_its_pods_by_state() -> None:
    found = registry(Books((SEARCH, NOBODY), 0))
    labels = {"cluster": "east", "namespace": "search", "model": MODEL}
    assert value(found, "gputally_namespace_gpu_seconds_total", **labels, state="used") == 3.000001
    assert value(found, "gputally_namespace_gpu_seconds_total", **labels, state="unallocated") == 0
    assert value(found, "gputally_namespace_energy_joules_total", **labels) == 1.234


def test_time_of_nobody_and_of_hosts_is_in_the_capacity_only() -> None:
    host = Total("east", "host", "", MODEL, (1_000_000, 0, 0, 0, 0), 9)
    found = registry(Books((SEARCH, NOBODY, host), 0))
    nobody = {"cluster": "east", "namespace": "", "model": MODEL}
    assert value(found, "gputally_namespace_gpu_seconds_total", **nobody, state="unallocated") is None
    assert value(found, "gputally_namespace_energy_joules_total", **nobody) is None
    capacity = {
        state: value(found, "gputally_capacity_gpu_seconds_total", cluster="east", model=MODEL, state=state)
        for state in ("used", "idle", "unallocated", "unavailable", "unobserved")
    }
    assert capacity == {
        "used": 4.000001,
        "idle": 0.000002,
        "unallocated": 5,
        "unavailable": 0.000001,
        "unobserved": 0.000007,
    }


def test_energy_that_is_not_known_is_absent() -> None:
    unknown = Total("east", "pod", "search", MODEL, (1, 0, 0, 0, 0), None)
    labels = {"cluster": "east", "namespace": "search", "model": MODEL}
    assert value(registry(Books((unknown,), 0)), "gputally_namespace_energy_joules_total", **labels) is None


def test_without_a_database_the_totals_are_absent_and_the_rest_is_there() -> None:
    found = registry(None)
    assert value(found, "gputally_database_up") == 0
    assert b"gputally_namespace_gpu_seconds" not in generate_latest(found)
    assert value(found, "gputally_ledger_pending") is None
    assert value(found, "gputally_ingest_streams") == 2


def test_what_the_process_did_is_counted() -> None:
    found = registry(Books((), 8))
    assert value(found, "gputally_ledger_pending") == 8
    assert value(found, "gputally_ledger_settled_total") == 4
    assert value(found, "gputally_ingest_skewed_batches_total") == 1
    assert value(found, "gputally_writer_refused_windows_total", reason="clock") == 1
    assert value(found, "gputally_conservation_error_seconds") == 0.000003


@given(st.integers(0, LIMIT_US - 1), st.integers(0, LIMIT_US - 1))
def test_the_difference_of_two_samples_is_exact_to_the_microsecond(one: int, other: int) -> None:
    """As long as a series is below 2^32 s; through the text that Prometheus parses."""
    before, after = (_scraped(us) for us in sorted((one, other)))
    assert round((after - before) * 1_000_000) == abs(one - other)


def _scraped(us: int) -> float:
    found = registry(Books((Total("c", "pod", "n", "m", (us, 0, 0, 0, 0), None),), 0))
    prefix = 'gputally_namespace_gpu_seconds_total{cluster="c",model="m",namespace="n",state="used"} '
    lines = generate_latest(found).decode().splitlines()
    return next(float(line.removeprefix(prefix)) for line in lines if line.startswith(prefix))


def test_the_counters_are_the_report(engine: Engine) -> None:
    """On a run without late data, the difference of two scrapes is the report of what came between."""
    book(engine, [window(start_us=START_US - MINUTE_US)])
    before = _used(engine)
    book(engine, [window(device(reserved(pod(), 12_345_678, 1, 77), unallocated(MINUTE_US - 12_345_679)))])
    found = report(engine, UTC, START_US, START_US + 3_600_000_000, [By.NAMESPACE])
    used_us = next(row.amounts.used_us for row in found.rows if row.keys == ("search",))
    assert round((_used(engine) - before) * 1_000_000) == used_us == 12_345_678


def _used(engine: Engine) -> float:
    found = make_registry(lambda: read_books(engine), lambda: WORK)
    labels = {"cluster": "east", "namespace": "search", "model": MODEL, "state": "used"}
    sample = value(found, "gputally_namespace_gpu_seconds_total", **labels)
    assert sample is not None
    return sample


def test_books_say_how_many_hours_wait(engine: Engine) -> None:
    book(engine, [window()])
    books = read_books(engine)
    assert books is not None
    assert books.pending == 1


def test_a_database_that_cannot_be_read_has_no_books(empty_database_url: str) -> None:
    engine = open_database(empty_database_url)
    assert read_books(engine) is None
    engine.dispose()


def test_the_text_is_openmetrics() -> None:
    text = generate_openmetrics(registry(Books((SEARCH, NOBODY), 1))).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert all(math.isfinite(sample.value) for sample in samples)


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=golden(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_whole_text_is_as_it_was_agreed() -> None:
    """Names, labels, types and help that others rely on; a wanted change is written by python -m tests.fleets."""
    assert golden().decode() == GOLDEN.read_text()


def test_families_that_need_no_label_are_all_there() -> None:
    """docs/metrics.md is made of a fleet without GPUs, so no family may come only with one."""
    empty = make_registry(lambda: Books((), 0), lambda: WORK, lambda: Month(0, 0))
    assert [family.name for family in empty.collect()] == [family.name for family in full().collect()]


def test_gap_time_is_a_gauge_that_a_late_window_lowers(engine: Engine) -> None:
    """The counters hold lines only: what they counted is never taken back."""
    book(engine, [window(), window(start_us=START_US + 10 * MINUTE_US)])
    settle(engine, UTC)
    assert _gap(engine) == 9 * 60
    book(engine, [window(start_us=START_US + 5 * MINUTE_US)])
    settle(engine, UTC)
    assert _gap(engine) == 8 * 60


def _gap(engine: Engine) -> float | None:
    found = make_registry(lambda: read_books(engine), lambda: WORK)
    return value(found, "gputally_gap_gpu_seconds", cluster="east", model=MODEL)


def test_each_node_says_when_its_last_window_began(engine: Engine) -> None:
    """A node that is silent is seen here before anybody misses its agent."""
    book(engine, [window(), window(start_us=START_US + MINUTE_US), window(node="node-b")])
    found = make_registry(lambda: read_books(engine), lambda: WORK)
    name = "gputally_node_last_window_timestamp_seconds"
    assert value(found, name, cluster="east", node="node-a") == START_US // 1_000_000 + 60
    assert value(found, name, cluster="east", node="node-b") == START_US // 1_000_000


def test_of_too_many_namespaces_the_largest_are_shown_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many namespaces there are, a scrape has a size; the capacity is of all of them."""
    monkeypatch.setattr(fleet, "MOST", 2)
    totals = tuple(replace(SEARCH, namespace=f"n{n}", state_us=(n, 0, 0, 0, 0)) for n in range(4))
    found = registry(Books(totals, 0))
    labels = {"cluster": "east", "model": MODEL, "state": "used"}
    shown = [value(found, "gputally_namespace_gpu_seconds_total", **labels, namespace=f"n{n}") for n in range(4)]
    assert shown == [None, None, 2e-6, 3e-6]
    assert value(found, "gputally_namespace_series_left_out") == 2
    assert value(found, "gputally_capacity_gpu_seconds_total", **labels) == 6e-6


def test_the_quarantine_is_counted_with_its_bytes(engine: Engine) -> None:
    """It is bounded, and whoever fills it should be seen."""
    refused = received(window(), refusal=Refusal(RefusalReason.CLOCK, "off"))
    Committer(engine, UTC, None).commit([refused], START_US)
    books = read_books(engine)
    assert books is not None
    assert (books.quarantined, books.quarantine_bytes) == (1, len(refused.message))


def test_what_retention_removed_is_counted() -> None:
    found = make_registry(lambda: None, lambda: replace(WORK, removed=Removed(1, 2, 3)))
    assert value(found, "gputally_retention_windows_total") == 1
    assert value(found, "gputally_retention_postings_total") == 2
    assert value(found, "gputally_retention_quarantined_windows_total") == 3
