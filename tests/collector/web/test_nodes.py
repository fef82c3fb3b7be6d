"""The table of nodes: in the order that is asked for, page by page, narrowed to those that have what is looked for."""

import re
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from tests.collector.web.fixtures import pages, text
from tests.statements import book
from tests.windows import window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import State
from gputally.collector.now.latest import FRESH_US
from gputally.collector.now.nodes import NodeNow
from gputally.collector.web.gpus import IN_DETAIL
from gputally.collector.web.nodes import NODES_A_PAGE, Only, Sort, choices, fits, ordered, table

NOW_US = 1_782_907_200_000_000
BUSY = NodeNow(1, "east", "node-1", NOW_US - 60_000_000, NOW_US, 8, "H100", (8 * HOUR_US, 0, 0, 0, 0), 0)
IDLE = replace(BUSY, name="node-2", states_us=(HOUR_US, 7 * HOUR_US, 0, 0, 0), held_idle_us=7 * HOUR_US)
FREE = replace(BUSY, name="node-10", gpus=4, states_us=(0, 0, 4 * HOUR_US, 0, 0))
LOST = replace(BUSY, name="node-11", states_us=(7 * HOUR_US, 0, 0, HOUR_US, 0))
SILENT = replace(IDLE, name="node-9", end_us=NOW_US - FRESH_US - 1)
ALL = [BUSY, FREE, LOST, IDLE, SILENT]


class At:
    """A moment in a time zone: all that the table asks of who asks."""

    now_us, zone = NOW_US, ZoneInfo("UTC")


AT: Any = At()


def words_of(html: str) -> str:
    """What is read of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def link(only: Only | None, sort: Sort, page: int) -> str:
    return f"{only}/{sort}/{page}"


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        (Sort.NAME, ["node-1", "node-2", "node-9", "node-10", "node-11"]),  # as people count
        (Sort.GPUS, ["node-1", "node-2", "node-9", "node-11", "node-10"]),
        (Sort.IDLE, ["node-2", "node-1", "node-10", "node-11", "node-9"]),  # what is not known now comes last
        (Sort.FREE, ["node-10", "node-1", "node-2", "node-11", "node-9"]),
        (Sort.LOST, ["node-11", "node-1", "node-2", "node-10", "node-9"]),
        (Sort.SEEN, ["node-9", "node-1", "node-2", "node-10", "node-11"]),
    ],
)
def test_nodes_come_in_the_order_that_is_asked_for(sort: Sort, names: list[str]) -> None:
    assert [one.name for one in ordered(ALL, sort, NOW_US)] == names


def test_of_a_silent_node_nothing_is_known_now() -> None:
    assert fits(SILENT, Only.SILENT, NOW_US)
    assert not fits(SILENT, Only.IDLE, NOW_US)
    (row,) = table([SILENT], 1, Sort.NAME, None, AT, link).rows
    assert (row.silent, row.idle, row.free, row.lost) == (True, "unknown", "unknown", "unknown")


def test_choices_say_how_many_there_are_and_lead_nowhere_empty() -> None:
    found = {one.text: one.href for one in choices(ALL, None, Sort.IDLE, NOW_US, link)}
    assert list(found) == [
        "All nodes: 5",
        "With GPUs held idle: 1",
        "With unallocated ones: 1",
        "With unavailable ones: 1",
        "Silent: 1",
    ]
    assert found["Silent: 1"] == "silent/idle/1"
    assert [one.text for one in choices([BUSY], Only.FREE, Sort.NAME, NOW_US, link)] == [
        "All nodes: 1",
        "With unallocated ones: 0",
    ]


def test_pages_hold_every_node_once() -> None:
    many = ordered((replace(BUSY, name=f"node-{at}") for at in range(2 * NODES_A_PAGE + 7)), Sort.NAME, NOW_US)
    pages: list[Any] = [table(many, page, Sort.NAME, None, AT, link) for page in (1, 2, 3)]
    assert [row.name for page in pages for row in page.rows] == [f"node-{at}" for at in range(len(many))]
    assert [(page.first, page.last, page.number) for page in pages] == [
        (1, 50, 107),
        (51, 100, 107),
        (101, 107, 107),
    ]
    assert [(page.earlier, page.later) for page in pages] == [
        (None, "None/name/2"),
        ("None/name/1", "None/name/3"),
        ("None/name/2", None),
    ]


def test_past_the_last_page_is_the_last() -> None:
    """Who kept the link while the fleet shrank is not told that there are no nodes."""
    assert table(ALL, 10_000, Sort.NAME, None, AT, link) == table(ALL, 1, Sort.NAME, None, AT, link)
    assert table([], 2, Sort.NAME, None, AT, link).earlier is None


def test_a_node_whose_name_many_clusters_have_is_a_row_for_each(engine: Engine) -> None:
    book(engine, [window(cluster=f"c-{at}", start_us=NOW_US - 60_000_000) for at in range(IN_DETAIL + 1)])
    with pages(engine, now_us=lambda: NOW_US) as app:
        found = words_of(text(app, "/gpus", node="node-a"))
        assert [name for name in (f"c-{at}" for at in range(IN_DETAIL + 1)) if name not in found] == []
        assert "No such node" in words_of(text(app, "/gpus", cluster="c-1", node="node-a", only="silent"))


def test_where_all_nodes_are_silent_no_state_has_a_number(engine: Engine) -> None:
    """Not 0.0 GPUs: nobody knows."""
    book(engine, [window(start_us=NOW_US - 60_000_000)])
    with pages(engine, now_us=lambda: NOW_US + FRESH_US + 1) as app:
        sums = re.search(r"<dl.*?</dl>", text(app, "/gpus"), re.DOTALL)
    assert sums is not None
    assert words_of(sums[0]) == " ".join(f"{state.value} unknown" for state in State)
