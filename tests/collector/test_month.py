"""The month so far is what the ledger says of it: the statement's own figures, the same on every replica."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine
from tests.rate_cards import CARD
from tests.windows import MINUTE_US, MODEL, START_US, all_received, device, pod, reserved, unallocated, window

from gputally.accounting.line import Window
from gputally.collector.exposition import month as families
from gputally.collector.exposition.books import Books
from gputally.collector.exposition.itself import Work
from gputally.collector.exposition.page import make_registry
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.ingest.stream import IngestStats
from gputally.collector.ingest.writer import WriterStats
from gputally.collector.ledger.postings import settle
from gputally.collector.month import Coverage, Month, Usage, read_month
from gputally.collector.rates.cost import SCALE

UTC = ZoneInfo("UTC")
NOW_US = START_US + 3_600_000_000
SEARCH = {"cluster": "east", "namespace": "search", "model": MODEL}
DAY_US = 86_400_000_000


def book(engine: Engine, *windows: Window) -> None:
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=windows[-1].end_us)
    settle(engine, UTC)


def half(used_us: int = MINUTE_US // 2, **more: int) -> Window:
    """A minute of which the namespace search uses a part and holds the half."""
    idle_us = MINUTE_US // 2 - used_us
    return window(device(reserved(pod(), used_us, idle_us), unallocated(MINUTE_US // 2)), **more)  # type: ignore[arg-type]


def page(month: Month | None) -> CollectorRegistry:
    work = Work(IngestStats(), WriterStats(), settled=0)
    return make_registry(lambda: Books((), 0), lambda: work, lambda: month)


def cost(month: Month, part: str, **labels: str) -> float | None:
    return page(month).get_sample_value(
        "gputally_namespace_month_cost", {**SEARCH, "part": part, "currency": "EUR", **labels}
    )


def test_a_namespaces_cost_is_its_time_by_state_at_the_months_prices(engine: Engine) -> None:
    apply_file(engine, Kind.RATES, CARD.encode(), "ann", START_US)
    book(engine, half(MINUTE_US // 4))
    month = read_month(engine, UTC, NOW_US)
    assert [cost(month, part) for part in ("used", "idle", "unobserved")] == [1 / 60, 1 / 60, 0]
    assert (cost(month, "energy"), cost(month, "overhead")) == (None, None)
    labels = {"cluster": "east", "model": MODEL, "part": "unallocated", "currency": "EUR"}
    whole = page(month).get_sample_value("gputally_capacity_month_cost", {**labels, "owner_kind": "platform"})
    assert whole == pytest.approx(2 / 60)


def test_without_a_price_there_is_no_cost_and_the_time_is_told(engine: Engine) -> None:
    """Never 0: nobody may think that it was free."""
    book(engine, half())
    month = read_month(engine, UTC, NOW_US)
    assert month.currency == ""
    assert b"month_cost{" not in text(month)
    assert page(month).get_sample_value("gputally_namespace_month_unpriced_gpu_seconds", SEARCH) == 30


def test_a_state_without_a_price_costs_nothing_that_could_be_told_though_another_has_one(engine: Engine) -> None:
    """What stood idle before there was a price was not free."""
    card = "version: 1\ncurrency: EUR\nprices: [{match: {}, valid_from: '2026-07-01T02:00:00Z', per_gpu_hour: 4}]"
    apply_file(engine, Kind.RATES, card.encode(), "ann", START_US)
    book(engine, half(0), half(start_us=START_US + 2 * 3_600_000_000))
    month = read_month(engine, UTC, START_US + 3 * 3_600_000_000)
    assert [cost(month, part) for part in ("used", "idle")] == [4 / 120, None]


def test_a_price_that_changes_afterwards_changes_what_the_month_costs(engine: Engine) -> None:
    """That is why it is a gauge: no counter may fall, and no replica may go on with an older price."""
    apply_file(engine, Kind.RATES, CARD.encode(), "ann", START_US)
    book(engine, half())
    before = cost(read_month(engine, UTC, NOW_US), "used")
    apply_file(engine, Kind.RATES, CARD.replace("4.00", "1.00").encode(), "ann", START_US + 1)
    after = cost(read_month(engine, UTC, NOW_US), "used")
    assert (before, after) == (4 / 120, 1 / 120)


def test_two_replicas_read_the_same(engine: Engine) -> None:
    """The figures are the database's, not the process's."""
    apply_file(engine, Kind.RATES, CARD.encode(), "ann", START_US)
    book(engine, half())
    assert text(read_month(engine, UTC, NOW_US)) == text(read_month(engine, UTC, NOW_US))


def test_coverage_counts_the_gaps(engine: Engine) -> None:
    """An agent that is silent does not shrink the capacity."""
    book(engine, half(), half(start_us=START_US + 3 * MINUTE_US))
    month = read_month(engine, UTC, NOW_US)
    assert month.coverage == (Coverage("east", 4 * MINUTE_US, 2 * MINUTE_US),)
    assert page(month).get_sample_value("gputally_month_coverage_ratio", {"cluster": "east"}) == 0.5


def test_a_new_month_begins_with_nothing(engine: Engine) -> None:
    book(engine, half())
    month = read_month(engine, UTC, START_US + 31 * DAY_US)
    assert (month.start_us, month.usage, month.coverage) == (START_US + 31 * DAY_US, (), ())


def test_of_too_many_namespaces_the_dearest_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many namespaces there are, a scrape has a size."""
    monkeypatch.setattr(families, "MOST", 2)
    usage = [Usage("east", "pod", f"n{n}", MODEL, {"used": n * SCALE}, 0) for n in range(4)]
    assert namespaces(text(Month(0, 0, "EUR", tuple(usage)))) == ["n2", "n3"]


def namespaces(page: bytes) -> Sequence[str]:
    lines = [line for line in page.decode().splitlines() if line.startswith("gputally_namespace_month_cost{")]
    return sorted(line.partition('namespace="')[2].partition('"')[0] for line in lines)


def text(month: Month) -> bytes:
    return generate_latest(page(month))
